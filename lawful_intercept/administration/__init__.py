"""Administration of lawful intercept (ADMF): officers, warrants, four eyes, audit, tasking of elements by X1."""
