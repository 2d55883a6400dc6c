"""Compiles CUDA text by NVRTC, without a GPU and without CUDA headers.

Standard input: a JSON list of {"key", "file", "options"}. Standard output: one line of JSON for each, {"key", "ok", "log"}; the log has
the compiler's words and what ptxas says about registers.
"""

import ctypes
import json
import pathlib
import sys
import sysconfig


def open_library():
    """The wheel's library; its built-in functions have to be there before it compiles anything."""
    folder = pathlib.Path(sysconfig.get_paths()["purelib"]) / "nvidia" / "cu13" / "lib"
    ctypes.CDLL(str(folder / "libnvrtc-builtins.so.13.0"))
    return ctypes.CDLL(str(folder / "libnvrtc.so.13"))


def log_of(nvrtc, program):
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, text)
    return text.value.decode()


def compile_one(nvrtc, file, options):
    """Whether a text compiles, and the log."""
    program = ctypes.c_void_p()
    source = pathlib.Path(file).read_bytes()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, pathlib.Path(file).name.encode(), 0, None, None)
    words = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    status = nvrtc.nvrtcCompileProgram(program, len(options), words)
    log = log_of(nvrtc, program)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return status == 0, log


def main():
    nvrtc = open_library()
    for job in json.load(sys.stdin):
        ok, log = compile_one(nvrtc, job["file"], job["options"])
        print(json.dumps({"key": job["key"], "ok": ok, "log": log}), flush=True)


main()
