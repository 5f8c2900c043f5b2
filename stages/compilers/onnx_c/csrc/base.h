/* What every generated file begins with. C99; no allocation; natively only math.h's sqrtf, floorf, ceilf, fabsf and
   rintf, which a wasm module has as instructions. The other functions are our own, so that both builds agree; each
   says its worst error where the result is a normal float, in units of the last place, as the tests measure it. */
#ifndef RC_BASE_H
#define RC_BASE_H
#include <float.h>
#include <stdint.h>
#if defined(__wasm__)
#define sqrtf __builtin_sqrtf
#define floorf __builtin_floorf
#define ceilf __builtin_ceilf
#define fabsf __builtin_fabsf
#define rintf __builtin_rintf
#undef INFINITY
#undef NAN
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
#else
#include <math.h>
#endif
#if defined(__GNUC__) || defined(__clang__)
#define RC_INLINE static inline __attribute__((always_inline, unused))
#define RC_UNUSED __attribute__((unused))
#define RC_ALIGNED __attribute__((aligned(64)))
#else
#define RC_INLINE static inline
#define RC_UNUSED
#define RC_ALIGNED
#endif
#if defined(__clang__)
/* a loop the vectoriser leaves alone is no fault */
#pragma clang diagnostic ignored "-Wpass-failed"
#define RC_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define RC_INDEPENDENT _Pragma("GCC ivdep")
#else
#define RC_INDEPENDENT
#endif

typedef union {
  float f;
  int32_t i;
} rc_bits;

/* x between two limits; NaN stays. */
RC_INLINE float rc_clamp(float x, float low, float high) { return x < low ? low : x > high ? high : x; }

/* 2^n as a float, for -126 <= n <= 127 */
RC_INLINE float rc_power_of_two(int32_t n) {
  rc_bits b;
  b.i = (n + 127) * 8388608;
  return b.f;
}

/* e^x: x = n ln 2 + r, |r| <= ln 2 / 2, and a Taylor polynomial of degree 7 in r; 1.3 units. */
RC_INLINE float rc_exp(float x) {
  const float c = x < -104.0f ? -104.0f : x > 89.0f ? 89.0f : x;
  const float n = floorf(c * 1.44269504f + 0.5f);
  const float r = (c - n * 0.693359375f) + n * 2.12194440e-4f;
  const float p = 1.0f + r + r * r * (0.5f + r * (1.66666667e-1f + r * (4.16666667e-2f + r * (8.33333333e-3f +
                  r * (1.38888889e-3f + r * 1.98412698e-4f)))));
  const int32_t whole = n != n ? 0 : (int32_t)n;
  const int32_t half = whole / 2;
  const float y = p * rc_power_of_two(half) * rc_power_of_two(whole - half);
  return x != x ? x : y;
}

/* e^x - 1 without cancellation for small x; 4.4 units. */
RC_INLINE float rc_expm1(float x) {
  const float small = x + x * x * (0.5f + x * (1.66666667e-1f + x * (4.16666667e-2f + x * (8.33333333e-3f +
                      x * (1.38888889e-3f + x * 1.98412698e-4f)))));
  return x > -0.35f && x < 0.35f ? small : rc_exp(x) - 1.0f;
}

/* Natural logarithm in double precision of a positive normal double, by 2 atanh((m - 1) / (m + 1)). */
RC_INLINE double rc_log_double(double x) {
  union {
    double d;
    int64_t i;
  } b;
  int64_t exponent;
  double t, s, sum;
  b.d = x;
  exponent = ((b.i >> 52) & 2047) - 1023;
  b.i = (b.i & 0xfffffffffffffLL) | 0x3ff0000000000000LL;
  if (b.d > 1.4142135623730951) {
    b.d *= 0.5;
    exponent += 1;
  }
  t = (b.d - 1.0) / (b.d + 1.0);
  s = t * t;
  sum = 1.0 + s * (1.0 / 3 + s * (1.0 / 5 + s * (1.0 / 7 + s * (1.0 / 9 + s * (1.0 / 11 + s * (1.0 / 13 + s / 15))))));
  return (double)exponent * 0.6931471805599453 + 2.0 * t * sum;
}

/* Natural logarithm: -inf at 0, NaN below; 0.51 units. */
RC_INLINE float rc_log(float x) {
  if (x != x || x < 0.0f) return NAN;
  if (x == 0.0f) return -INFINITY;
  if (x > FLT_MAX) return x;
  return (float)rc_log_double((double)x);
}

/* e^x in double precision for |x| < 700. */
RC_INLINE double rc_exp_double(double x) {
  union {
    double d;
    int64_t i;
  } b;
  const double scaled = x * 1.4426950408889634;
  const int32_t n = (int32_t)(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
  const double r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
  double p = 1.0;
  int k;
  for (k = 13; k > 0; --k) p = 1.0 + p * r / k;
  b.i = (int64_t)(n + 1023) * 4503599627370496LL;
  return p * b.d;
}

/* x^y as C's powf: a negative base takes whole exponents only; 0.51 units. */
RC_UNUSED static float rc_pow(float x, float y) {
  const float whole = floorf(y);
  const int odd = whole == y && fabsf(y) < 16777216.0f && ((int32_t)y & 1) != 0;
  const float base = fabsf(x);
  double power;
  if (y == 0.0f || x == 1.0f) return 1.0f;
  if (x != x || y != y) return NAN;
  if (base == 0.0f) return y > 0.0f ? (odd ? x : 0.0f) : (odd && 1.0f / x < 0.0f ? -INFINITY : INFINITY);
  if (fabsf(y) > FLT_MAX) {
    if (base == 1.0f) return 1.0f;
    return (base > 1.0f) == (y > 0.0f) ? INFINITY : 0.0f;
  }
  if (x < 0.0f && base <= FLT_MAX && whole != y) return NAN;
  if (base > FLT_MAX) {
    const float large = y > 0.0f ? INFINITY : 0.0f;
    return x < 0.0f && odd ? -large : large;
  }
  power = rc_log_double((double)base) * (double)y;
  if (power > 100.0) return x < 0.0f && odd ? -INFINITY : INFINITY;
  if (power < -120.0) return 0.0f;
  power = rc_exp_double(power);
  return (float)(x < 0.0f && odd ? -power : power);
}

/* 1 / (1 + e^-x); 2.5 units. */
RC_INLINE float rc_sigmoid(float x) {
  const float e = rc_exp(x < 0.0f ? x : -x);
  const float y = 1.0f / (1.0f + e);
  return x < 0.0f ? e * y : y;
}

/* Hyperbolic tangent: its odd Taylor series near zero, from e^2x elsewhere; 2.5 units. */
RC_INLINE float rc_tanh(float x) {
  const float s = x * x;
  const float near = x * (1.0f + s * (-0.333333333f + s * (0.133333333f + s * (-0.0539682540f +
                     s * (0.0218694885f + s * -0.00886323553f)))));
  const float a = fabsf(x);
  const float e = rc_exp(-2.0f * a);
  const float far = (1.0f - e) / (1.0f + e);
  return a < 0.3f ? near : x < 0.0f ? -far : x != x ? x : far;
}

/* Error function, in double precision: the Taylor series up to 2, then the continued fraction of erfc; 0.51 units. */
RC_UNUSED static float rc_erf(float x) {
  const double a = x < 0.0f ? -(double)x : (double)x;
  double y;
  int k;
  if (x != x) return x;
  if (a < 2.0) {
    double power = a, sum = a;
    for (k = 1; k < 26; ++k) {
      power *= -a * a / k;
      sum += power / (2 * k + 1);
    }
    y = 1.1283791670955126 * sum;
  } else if (a < 4.0) {
    double fraction = a;
    for (k = 30; k > 0; --k) fraction = a + 0.5 * k / fraction;
    y = 1.0 - 0.5641895835477563 * rc_exp_double(-a * a) / fraction;
  } else {
    y = 1.0;
  }
  return (float)(x < 0.0f ? -y : y);
}

/* Sine of x + quarter * pi / 2, in double precision: x = k pi / 2 + r, |r| <= pi / 4, and a Taylor polynomial in r. NaN
   beyond |x| = 1e9, where floats lie further apart than a period is long. */
RC_UNUSED static float rc_sine(float x, double quarter) {
  const double round = 6755399441055744.0; /* 1.5 * 2^52: adding it leaves a whole number */
  double k, r, s, turn, y;
  if (!(fabsf(x) <= 1e9f)) return NAN;
  k = ((double)x * 0.6366197723675814 + round) - round;
  r = ((double)x - k * 1.57079632673412561417) - k * 6.07710050650619224932e-11;
  k += quarter;
  turn = k - 4.0 * ((k * 0.25 + round) - round); /* from -2 to 2 */
  s = r * r;
  if (turn == 0.0 || turn == 2.0 || turn == -2.0)
    y = r * (1.0 + s * (-1.0 / 6 + s * (1.0 / 120 + s * (-1.0 / 5040 + s * (1.0 / 362880 - s / 39916800)))));
  else
    y = 1.0 + s * (-0.5 + s * (1.0 / 24 + s * (-1.0 / 720 + s * (1.0 / 40320 + s * (-1.0 / 3628800 + s / 479001600)))));
  return (float)(turn == 2.0 || turn == -2.0 || turn == -1.0 ? -y : y);
}

/* Sine and cosine; 0.51 units up to |x| = 1e6. */
RC_UNUSED static float rc_sin(float x) { return rc_sine(x, 0.0); }
RC_UNUSED static float rc_cos(float x) { return rc_sine(x, 1.0); }

/* log(1 + e^x); 1.9 units. */
RC_UNUSED static float rc_softplus(float x) {
  const float e = rc_exp(x < 0.0f ? x : -x);
  /* log(1 + e) = e - e e / 2 + ... where 1 + e would lose e */
  return (x > 0.0f ? x : 0.0f) + (e < 1e-6f ? e - 0.5f * e * e : (float)rc_log_double(1.0 + (double)e));
}

/* Nearest whole number, halves to even, in the range of an integer type. */
RC_INLINE int32_t rc_saturate(float x, int32_t low, int32_t high) {
  const float r = rintf(x);
  return r != r ? 0 : r <= (float)low ? low : r >= (float)high ? high : (int32_t)r;
}

#endif
