/* Answers, for each pair of felts on standard input, with sum, difference, product, quotient and remainder of the
   integers, and the quotient in the field; the last three only mean something if the second is not 0. */
#include <stdio.h>

#include "../../../../stages/targets/cairo/run/csrc/felt.h"

int main(void) {
    felt pair[2];
    while (fread(pair, sizeof pair, 1, stdin) == 1) {
        felt answer[6] = {felt_add(pair[0], pair[1]), felt_sub(pair[0], pair[1]), felt_mul(pair[0], pair[1])};
        if (!felt_is_zero(pair[1])) {
            felt_divmod(pair[0], pair[1], &answer[3], &answer[4]);
            answer[5] = felt_mul(pair[0], felt_inverse(pair[1]));
        }
        fwrite(answer, sizeof answer, 1, stdout);
    }
    return 0;
}
