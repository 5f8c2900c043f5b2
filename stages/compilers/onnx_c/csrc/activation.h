/* What a kernel does to its sums before it stores them. Every field is a constant where a kernel is called, so that
   only the chosen branch is compiled. */
#ifndef RC_ACTIVATION_H
#define RC_ACTIVATION_H

#include "vector.h"

enum { RC_NO_ACTIVATION, RC_RELU, RC_CLIP, RC_LEAKY_RELU, RC_HARD_SWISH, RC_HARD_SIGMOID };

/* CLIP: to p..q. LEAKY_RELU: p times what is below 0. HARD_SIGMOID: p x + q, clipped to 0..1. */
typedef struct {
  int kind;
  float p, q;
} rc_activation;

RC_INLINE rc_v4 rc_activate(rc_v4 a, const rc_activation f) {
  const rc_v4 zero = rc_v4_splat(0), one = rc_v4_splat(1);
  switch (f.kind) {
    case RC_RELU:
      return rc_v4_max(a, zero);
    case RC_CLIP:
      return rc_v4_min(rc_v4_max(a, rc_v4_splat(f.p)), rc_v4_splat(f.q));
    case RC_LEAKY_RELU:
      return rc_v4_madd(rc_v4_max(a, zero), rc_v4_splat(f.p), rc_v4_min(a, zero));
    case RC_HARD_SIGMOID:
      return rc_v4_min(rc_v4_max(rc_v4_madd(rc_v4_splat(f.q), rc_v4_splat(f.p), a), zero), one);
    case RC_HARD_SWISH:
      return rc_v4_mul(a, rc_v4_min(rc_v4_max(rc_v4_madd(rc_v4_splat(0.5f), rc_v4_splat(1 / 6.0f), a), zero), one));
    default:
      return a;
  }
}

#endif
