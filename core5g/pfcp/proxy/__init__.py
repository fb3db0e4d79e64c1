"""A PFCP proxy between stock SMFs and a stock UPF, which adds rules of its own to sessions and fails open."""
