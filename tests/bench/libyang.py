"""libyang 2 (a library of C that comes with FRR) by its own functions, so that no binding's cost is in the figure."""

from __future__ import annotations

import ctypes
from pathlib import Path

LIBRARY = "libyang.so.2"
_YANG = 1  # LYS_IN_YANG
_JSON = 2  # LYD_JSON
_STRICT = 0x020000  # LYD_PARSE_STRICT: unknown keys are refused
_PRESENT = 0x0002  # LYD_VALIDATE_PRESENT: the modules that the data is of


class LibYang:
    """A context with one module. FileNotFoundError when the library is not here."""

    def __init__(self, module: Path) -> None:
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError:
            raise FileNotFoundError(2, "not found", LIBRARY) from None
        pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
        self._library.ly_ctx_new.argtypes = [text, ctypes.c_uint16, pointer]
        self._library.lys_parse_mem.argtypes = [pointer, text, number, pointer]
        bits = ctypes.c_uint32
        self._library.lyd_parse_data_mem.argtypes = [pointer, text, number, bits, bits, pointer]
        self._library.lyd_free_all.argtypes = [pointer]
        self._library.ly_log_options(0)
        self._context = ctypes.c_void_p()
        self._expect(self._library.ly_ctx_new(None, 0, ctypes.byref(self._context)))
        self._expect(self._library.lys_parse_mem(self._context, module.read_bytes(), _YANG, None))

    def accepts(self, text: bytes) -> bool:
        """Parse JSON and validate it; the tree is made, judged and freed."""
        found = ctypes.c_void_p()
        code = self._library.lyd_parse_data_mem(self._context, text, _JSON, _STRICT, _PRESENT, ctypes.byref(found))
        self._library.lyd_free_all(found)
        return bool(code == 0)

    @staticmethod
    def _expect(code: int) -> None:
        if code != 0:
            raise RuntimeError(f"libyang: error {code}")
