/* What a kernel does to its sums before it stores them. Every field is a constant where a kernel is called, so that
   only the chosen branch is compiled. */
#ifndef ACTIVATION_H
#define ACTIVATION_H

#include "vector.h"

enum { NO_ACTIVATION, RELU, CLIP, LEAKY_RELU, HARD_SWISH, HARD_SIGMOID };

/* CLIP: to p..q. LEAKY_RELU: p times what is below 0. HARD_SIGMOID: p x + q, clipped to 0..1. */
typedef struct {
  int kind;
  float p, q;
} activation;

INLINE v4 activate(v4 a, const activation f) {
  const v4 zero = v4_splat(0), one = v4_splat(1);
  switch (f.kind) {
    case RELU:
      return v4_max(a, zero);
    case CLIP:
      return v4_min(v4_max(a, v4_splat(f.p)), v4_splat(f.q));
    case LEAKY_RELU:
      return v4_madd(v4_max(a, zero), v4_splat(f.p), v4_min(a, zero));
    case HARD_SIGMOID:
      return v4_min(v4_max(v4_madd(v4_splat(f.q), v4_splat(f.p), a), zero), one);
    case HARD_SWISH:
      return v4_mul(a, v4_min(v4_max(v4_madd(v4_splat(0.5f), v4_splat(1 / 6.0f), a), zero), one));
    default:
      return a;
  }
}

#endif
