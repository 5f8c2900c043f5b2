/* Where the pixels of one image lie: pixel (y, x) begins at `at + y * row + x * px`, its channels follow each other.
   A view of a zero-bordered buffer may begin inside its border. `at` is 0 for a residual that is not there. */
#ifndef RC_VIEW_H
#define RC_VIEW_H

#include "vector.h"

typedef struct {
  const float *at;
  int row, px;
} rc_source;

typedef struct {
  float *at;
  int row, px;
} rc_target;

RC_INLINE rc_source rc_source_at(rc_source s, int y, int x, int channel) {
  if (s.at) s.at += y * s.row + x * s.px + channel;
  return s;
}

RC_INLINE rc_target rc_target_at(rc_target t, int y, int x, int channel) {
  t.at += y * t.row + x * t.px + channel;
  return t;
}

#endif
