"""One online model per horizon: what it is asked, how it learns, how it is scored and kept."""
