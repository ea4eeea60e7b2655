"""A page that runs a detector in the browser.

Its files, ONNX Runtime Web, a server, and a check in a real browser.
"""

NETWORK = "detector.onnx"
DESCRIPTION = "detector.json"
SUFFIX = "_web"
