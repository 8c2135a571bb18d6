/** Sizes and times as people read them. */
#ifndef KA_AMOUNT_H
#define KA_AMOUNT_H

#include <stddef.h>

struct ka_amount {
    char text[32];
};

/** "48 KiB", "2 MiB", "23.4 GiB".  Use as ka_bytes(n).text, inside one expression. */
struct ka_amount ka_bytes(double bytes);
/** "83 us", "0.41 s", "12 s", "3 min 05 s", "2 h 10 min". */
struct ka_amount ka_duration(double seconds);
/** Three digits that count: "0.0123", "1.23", "123", "12300". */
struct ka_amount ka_rate(double x);

#endif
