/* A multiplication and an addition of four floats, over and over, in registers: what SIMD128 can reach here at most. */
#include <wasm_simd128.h>

__attribute__((export_name("run"))) float run(int count, float factor, float term) {
  v128_t a[12];
  for (int i = 0; i < 12; ++i) a[i] = wasm_f32x4_splat((float)i);
  const v128_t f = wasm_f32x4_splat(factor), t = wasm_f32x4_splat(term);
  for (int k = 0; k < count; ++k) {
    _Pragma("clang loop unroll(full)") for (int i = 0; i < 12; ++i) a[i] = wasm_f32x4_add(wasm_f32x4_mul(a[i], f), t);
  }
  for (int i = 1; i < 12; ++i) a[0] = wasm_f32x4_add(a[0], a[i]);
  return wasm_f32x4_extract_lane(a[0], 0);
}
