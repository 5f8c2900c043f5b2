"""What a WebAssembly module exports: input(i), output(i) and run()."""

from __future__ import annotations

from recast.stages.compilers.onnx_c.graph import Graph


def exports(graph: Graph, prefix: str) -> str:
    """The functions of the wasm module, over static inputs and outputs; absent unless RC_EXPORTS is defined."""
    export = "" if prefix == "model" else f"{prefix}_"
    memory, arguments, cases = [], [], {"input": "", "output": ""}
    for kind, names in (("input", graph.inputs), ("output", graph.outputs)):
        for index, name in enumerate(names):
            tensor = graph.tensors[name]
            memory.append(f"static {tensor.c_type} {prefix}_{kind}{index}[{max(1, tensor.size)}] RC_ALIGNED;")
            arguments.append(f"{prefix}_{kind}{index}")
            cases[kind] += f"  if (index == {index}) return {prefix}_{kind}{index};\n"
    lookups = "".join(
        f"""__attribute__((export_name("{export}{kind}"))) void *{prefix}_export_{kind}(int32_t index);
void *{prefix}_export_{kind}(int32_t index) {{
{text}  (void)index;
  return 0;
}}
"""
        for kind, text in cases.items()
    )
    return f"""#if defined(__wasm__) && defined(RC_EXPORTS)
{chr(10).join(memory)}
{lookups}__attribute__((export_name("{export}run"))) int32_t {prefix}_export_run(void);
int32_t {prefix}_export_run(void) {{
  {prefix}_run({", ".join(arguments)});
  return 0;
}}
#endif
"""
