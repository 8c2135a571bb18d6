#include "cpu/sixteen.h"

#include <string.h>

/* Numbers of a panel whose rows (or columns) have n. */
static int64_t panel_numbers(int64_t n)
{
    return kl__i16_even(n) * KL__PANEL;
}

/* -------------------------------------------------------------------------------------------------------- blocks -- */

void kl__i16_carve_rows(struct kl__i16_rows *r, struct kl__carver *c, int64_t n)
{
    r->n = kl__i16_even(n);
    r->row = kl__carve(c, KL__I16_BLOCK * (size_t)r->n, sizeof *r->row);
    r->scale = kl__carve(c, KL__I16_BLOCK, sizeof *r->scale);
}

void kl__i16_clear_rows(struct kl__i16_rows *r, int64_t first)
{
    memset(r->row + first * r->n, 0, (size_t)((KL__I16_BLOCK - first) * r->n) * sizeof *r->row);
    memset(r->scale + first, 0, (size_t)(KL__I16_BLOCK - first) * sizeof *r->scale);
}

void kl__i16_carve_block(struct kl__i16_block *b, struct kl__carver *c, int64_t n_k, int64_t n_v)
{
    kl__i16_carve_rows(&b->k, c, n_k);
    b->v = kl__carve(c, (size_t)(kl__i16_panels(n_v) * panel_numbers(KL__I16_BLOCK)), sizeof *b->v);
    b->v_scale = kl__carve(c, KL__I16_BLOCK, sizeof(float));
}

/* ------------------------------------------------------------------------------------------------------- product -- */

/* A few rows at a time, all nearly alike, while a panel stays in the first-level cache. */
void kl__i16_multiply(const struct kl__kernels *k, const struct kl__i16_product *p)
{
    int64_t n_part = (p->m + KL__I16_ROWS - 1) / KL__I16_ROWS;
    for (int64_t panel = 0; panel * KL__PANEL < p->n; panel++) {
        int64_t j = panel * KL__PANEL, n = p->n - j < KL__PANEL ? p->n - j : KL__PANEL;
        for (int64_t part = 0; part < n_part; part++) {
            int64_t i = p->m * part / n_part, m = p->m * (part + 1) / n_part - i;
            k->i16_tile(p->c + i * p->c_pitch + j, p->c_pitch, p->keep ? p->keep + i : NULL, p->x + i * p->x_pitch,
                        p->x_pitch, p->x_scale + i, p->panel + panel * p->panel_numbers,
                        p->panel_scale ? p->panel_scale + j : NULL, p->n_pair, (int)m, (int)n);
        }
    }
}

/* ------------------------------------------------------------------------------------------------------- weights -- */

static int16_t *carve_panels(struct kl__carver *c, int64_t n, int64_t n_pair_numbers)
{
    return kl__carve(c, (size_t)(kl__i16_panels(n) * panel_numbers(n_pair_numbers)), sizeof(int16_t));
}

void kl__i16_carve_weights(struct kl__i16_weights *w, struct kl__carver *c, int64_t n_nope, int64_t n_v,
                           int64_t n_latent)
{
    w->absorb = carve_panels(c, n_latent, n_nope);
    w->value = carve_panels(c, n_v, n_latent);
    w->expand = carve_panels(c, n_nope, n_latent);
    w->absorb_scale = kl__carve(c, (size_t)n_latent, sizeof(float));
    w->value_scale = kl__carve(c, (size_t)n_v, sizeof(float));
    w->expand_scale = kl__carve(c, (size_t)n_nope, sizeof(float));
}

void kl__i16_pack(const struct kl__kernels *k, int16_t *panels, float *scale, const float *matrix, int64_t n_row,
                  int64_t n_column, bool turn, float *line, int16_t *integers)
{
    int64_t n_line = turn ? n_column : n_row, n = turn ? n_row : n_column, even = kl__i16_even(n);
    for (int64_t first = 0; first < n_line; first += KL__PANEL, panels += panel_numbers(n)) {
        memset(integers, 0, (size_t)(KL__PANEL * even) * sizeof *integers);
        for (int64_t i = 0; i < KL__PANEL && first + i < n_line; i++) {
            const float *from = turn ? line : matrix + (first + i) * n_column;
            for (int64_t j = 0; turn && j < n; j++)
                line[j] = matrix[j * n_column + first + i];
            k->i16_row(integers + i * even, &scale[first + i], from, n, even);
        }
        k->bf16_panel((uint16_t *)panels, integers, even * (int64_t)sizeof *integers, even, NULL);
    }
}
