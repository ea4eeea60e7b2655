"""Our networks inside other libraries; each module imports its library only when asked."""
