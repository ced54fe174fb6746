"""A model as a file that other programs run: ONNX, StableHLO, safetensors."""
