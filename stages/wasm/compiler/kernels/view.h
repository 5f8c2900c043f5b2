/* Where the pixels of one image lie: pixel (y, x) begins at `at + y * row + x * px`, its channels follow each other.
   A view of a zero-bordered buffer may begin inside its border. `at` is 0 for a residual that is not there. */
#ifndef VIEW_H
#define VIEW_H

#include "vector.h"

typedef struct {
  const float *at;
  int row, px;
} source;

typedef struct {
  float *at;
  int row, px;
} target;

INLINE source source_at(source s, int y, int x, int channel) {
  if (s.at) s.at += y * s.row + x * s.px + channel;
  return s;
}

INLINE target target_at(target t, int y, int x, int channel) {
  t.at += y * t.row + x * t.px + channel;
  return t;
}

#endif
