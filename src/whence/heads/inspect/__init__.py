"""Where chosen heads look, before and after others are ablated."""
