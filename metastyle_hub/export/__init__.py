"""Export to ONNX: stylize, predict and adapt outside of PyTorch, in a browser first. Needs the extra `export`.

layout.py           the flat parameter vector that the graphs take
plain.py            the networks in plain operations
graphs.py           the forward graphs, by torch.onnx: stylize, Gram matrices, predictor, one fixed style
external_data.py    constants of a graph that point into safetensors files
half.py             a graph in half precision
step.py             an adaptation step as a pure function of tensors
decompositions.py   operations that ONNX lacks, in plain operations: gradients, most of all
operations.py       operations of PyTorch as ONNX nodes, one function each
webgpu.py           nodes that WebGPU cannot run, as nodes that it can
builder.py          an ONNX graph in the making
translator.py       a function of tensors to an ONNX graph, operation by operation
check.py            a graph in onnxruntime against PyTorch
style.py            one style as a file
manifest.py         what a page must know of the exported files
browser.py          the folder that the browser page loads
site.py             the page, that folder and onnxruntime-web as one folder of static files
"""
