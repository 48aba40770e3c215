"""From LLVM IR to callable machine code, kept on disk between processes."""

from __future__ import annotations

import ctypes
import functools
import hashlib
from collections.abc import Callable
from typing import Any

from nnad.compiler.cache import cache_folder, write_atomically

VERSION = 1  # of the cached files


@functools.cache
def _target() -> Any:
    """The host's target machine."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=2,
        jit=True,
    )


@functools.cache
def _host() -> str:
    import llvmlite
    import llvmlite.binding as llvm

    return f"{VERSION} {llvmlite.__version__} {llvm.get_host_cpu_name()}"


# Engines own the code, and a late helper thread may still be in it: they live as long as the
# process. A program that is made again, as for every fit of an estimator, shares the first one's.
_engines: dict[str, Any] = {}


def load(ir: str, name: str) -> Callable[..., Any]:
    """The function `name(ptr table, i64 thread)` of a module, as a callable that drops the GIL."""
    return load_many(ir, {name: (None, ctypes.c_void_p, ctypes.c_int64)})[name]


def load_many(ir: str, signatures: dict[str, tuple[Any, ...]]) -> dict[str, Callable[..., Any]]:
    """Functions of a module by name, each with the ctypes of its result and arguments.

    Raises:
        ImportError: llvmlite is not installed.
        RuntimeError: LLVM refused the module.
    """
    key = hashlib.sha256(f"{_host()}\n{ir}".encode()).hexdigest()
    engine = _engines.get(key) or _engines.setdefault(key, _engine(ir, key))
    return {
        name: ctypes.CFUNCTYPE(*types)(engine.get_function_address(name))
        for name, types in signatures.items()
    }


def _engine(ir: str, key: str) -> Any:
    """The machine code of a module, in memory."""
    import llvmlite.binding as llvm

    path = cache_folder() / "kernels" / f"{key[:32]}.o"
    code = _read(path, key)
    if code is None:
        code = _compile(ir)
        write_atomically(path, hashlib.sha256(key.encode() + code).digest() + code)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


def entry_point(function: Any) -> int:
    """Where a function that `load` gave lies."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _read(path: Any, key: str) -> bytes | None:
    """Machine code from the cache, if it is whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, code = content[:32], content[32:]
    return code if hashlib.sha256(key.encode() + code).digest() == digest else None


def _compile(ir: str) -> bytes:
    import llvmlite.binding as llvm

    module = llvm.parse_assembly(ir)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = True
    options.slp_vectorization = True
    builder = llvm.create_pass_builder(_target(), options)
    builder.getModulePassManager().run(module, builder)
    return _target().emit_object(module)
