"""A script for test_kernel.py: compiles the kernel for a GPU that need not be there, and prints its target."""

from __future__ import annotations

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from train.augment.kernel import WARPS, finish_clip

CONSTANTS = {
    "T": 313, "M": 128, "COLUMNS": 128, "ROWS": 32, "PARTNERS": 1, "BACKGROUNDS": 2, "GATHERS": True, "LOOPS": True,
    "IS_BYTE": True, "IN_DB": True, "TONES": 128, "HAS_NOISE": True, "HAS_RANGE": True, "FINISHES": True,
    "MEL_MASKS": 2, "TIME_MASKS": 2, "DB": 3.01, "FLOOR": 1e-10, "EVEN": 1e-5, "BATCH": 64,
}  # fmt: skip
FLOATS = ("weights", "tone", "added", "noise", "scratch")
TYPES = {"codes": "*u8", "out": "*bf16", "padding": "i32", "step": "fp32", "low": "fp32", "range_db": "fp32"}

if __name__ == "__main__":
    types = TYPES | dict.fromkeys(FLOATS, "*fp32") | dict.fromkeys(CONSTANTS, "constexpr")
    signature = {name: types.get(name, "*i64") for name in finish_clip.arg_names}
    constants = {(finish_clip.arg_names.index(name),): value for name, value in CONSTANTS.items()}
    source = ASTSource(finish_clip, signature, constexprs=constants)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": WARPS})
    print(next(line for line in compiled.asm["ptx"].splitlines() if line.startswith(".target")))
