"""A network as one ONNX file, and the runtime that reads it with onnxruntime and NumPy alone."""
