"""Compiles every Triton program for NVIDIA GPUs, without one: what the interpreter lets pass, the compiler may refuse.

Run in a process of its own, as Triton interprets or compiles for good once it is imported. Prints a line for each program.
"""

import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from napari_deformreg.engine.kernels import gpu, gpu_box_programs, gpu_programs

POINTERS = {
    "outer", "inner", "out", "image", "weight", "field", "value", "gradient", "inside", "source", "weights", "moved", "fixed", "sums",
    "fixed_sum", "fixed_variance", "count",
}  # fmt: skip
NUMBERS = {"scale", "scale_outer", "scale_inner", "epsilon", "o0", "o1", "o2", *(f"m{a}{b}" for a in range(3) for b in range(3))}
LINES = {"LINES": gpu.LINES, "SEGMENT": gpu.SEGMENT}
PROGRAMS = [
    (gpu_programs.compose, {"BLOCK": gpu.BLOCK}),
    *((gpu_programs.warp, {"BLOCK": gpu.BLOCK, "WITH_GRADIENT": a, "WEIGHTED": b}) for a in (True, False) for b in (True, False)),
    *((gpu_programs.convolve_axis, {"BLOCK": gpu.BLOCK, "AXIS": axis}) for axis in range(3)),
    (gpu_programs.longest_squares, {"BLOCK": gpu.LONGEST_BLOCK}),
    (gpu_box_programs.box_rows, {"BLOCK": gpu.BLOCK}),
    (gpu_box_programs.product_rows, {"BLOCK": gpu.BLOCK}),
    (gpu_box_programs.box_lines, LINES),
    (gpu_box_programs.lncc_coefficients, LINES),
    (gpu_box_programs.lncc_derivative, LINES),
]


def kind(name, constants):
    """Return an argument's type in Triton's notation."""
    if name in constants:
        return "constexpr"
    if name == "parts":
        return "*fp64"
    if name in POINTERS:
        return "*fp32"
    return "fp32" if name in NUMBERS else "i32"


for capability in (int(number) for number in sys.argv[1:]):
    for program, constants in PROGRAMS:
        signature = {name: kind(name, constants) for name in program.arg_names}
        source = ASTSource(program, signature=signature, constexprs=constants)
        compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=dict(gpu._ROUNDED))
        print(capability, program.__name__, constants, len(compiled.asm["cubin"]))
