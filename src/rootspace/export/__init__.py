"""Trained networks in other formats: image -> embedding -> class in one ONNX file."""

from ._decoder import Decoder as Decoder
from ._onnx import OnnxCheck as OnnxCheck
from ._onnx import export_onnx as export_onnx
