#include "train/pass.h"

#include "base/error.h"
#include "tensor/tensor.h"

/* -------------------------------------------------------------------------------------------------------- memory -- */

static float *carve(struct kl__pass *p, bool keep, int64_t rows, int64_t columns)
{
    float *x = kl__carve(keep ? &p->keep : &p->temp, (size_t)rows * (size_t)columns, sizeof *x);
    p->temp_most = p->temp.bytes > p->temp_most ? p->temp.bytes : p->temp_most;
    return x;
}

int64_t kl__pass_pitch(int64_t columns)
{
    enum { LINE = 16, PAGE = 1024 };
    int64_t pitch = columns < 4 * LINE ? columns : (columns + LINE - 1) / LINE * LINE;
    return pitch > 0 && pitch % PAGE == 0 ? pitch + LINE : pitch;
}

static kl_tensor carve_rows(struct kl__pass *p, bool keep, int64_t columns)
{
    int64_t pitch = kl__pass_pitch(columns);
    kl_tensor x = kl_view2(carve(p, keep, p->n_token, pitch), KL_F32, p->n_token, columns);
    x.pitch = pitch;
    return x;
}

kl_tensor kl__pass_keep(struct kl__pass *p, int64_t columns)
{
    return carve_rows(p, !p->forget, columns);
}

float *kl__pass_keep_floats(struct kl__pass *p, int64_t n)
{
    return carve(p, !p->forget, n, 1);
}

kl_tensor kl__pass_temp(struct kl__pass *p, int64_t columns)
{
    return carve_rows(p, false, columns);
}

kl_tensor kl__pass_value(const struct kl__pass *p, enum kl__param param, int layer)
{
    return kl__layout_view(p->layout, p->value, param, layer);
}

kl_tensor kl__pass_gradient(const struct kl__pass *p, enum kl__param param, int layer)
{
    return kl__layout_view(p->layout, p->gradient, param, layer);
}

kl_tensor kl__pass_columns(const struct kl__pass *p, kl_tensor wide, enum kl__param param, int layer)
{
    const struct kl__place *place = kl__layout_find(p->layout, param, layer);
    if (!place)
        return (kl_tensor){0};
    return kl__columns(wide, kl__layout_first_row(p->layout, param, layer), place->rows);
}

kl_tensor kl__pass_heads(kl_tensor x, int64_t first, int64_t heads, int64_t size)
{
    kl_tensor y = kl_view3((float *)x.data + first, KL_F32, x.dim[0], heads, size);
    y.pitch = kl__pitch(x);
    return y;
}

/* ------------------------------------------------------------------------------------- operators with parameters -- */

kl_status kl__pass_linear(const struct kl__pass *p, kl_tensor y, kl_tensor x, enum kl__param w, int layer, bool add)
{
    return kl__run_linear(&p->run, (kl_linear_args){.y = y, .x = x, .w = kl__pass_value(p, w, layer), .add = add});
}

kl_status kl__pass_linear_bwd(const struct kl__pass *p, kl_tensor d_x, kl_tensor d_y, kl_tensor x, enum kl__param w,
                              int layer, bool add_dx)
{
    return kl__run_linear_bwd(&p->run, (kl_linear_bwd_args){.fwd = {.x = x, .w = kl__pass_value(p, w, layer)},
                                                            .d_y = d_y,
                                                            .d_x = d_x,
                                                            .d_w = kl__pass_gradient(p, w, layer),
                                                            .add_dx = add_dx});
}

kl_status kl__pass_norm(const struct kl__pass *p, kl_tensor y, kl_tensor x, enum kl__param w, int layer, float eps)
{
    return kl__run_rmsnorm(&p->run, (kl_rmsnorm_args){.y = y, .x = x, .w = kl__pass_value(p, w, layer), .eps = eps});
}

kl_status kl__pass_norm_bwd(const struct kl__pass *p, kl_tensor d_x, kl_tensor d_y, kl_tensor x, enum kl__param w,
                            int layer, float eps)
{
    return kl__run_rmsnorm_bwd(&p->run,
                               (kl_rmsnorm_bwd_args){.fwd = {.x = x, .w = kl__pass_value(p, w, layer), .eps = eps},
                                                     .d_y = d_y,
                                                     .d_x = d_x,
                                                     .d_w = kl__pass_gradient(p, w, layer)});
}

/* -------------------------------------------------------------------------------------------------------- inputs -- */

static enum kl__param norm_of(enum kl__group group)
{
    return group == KL__GROUP_MIXER ? KL__NORM_MIXER : KL__NORM_FFN;
}

struct kl__inputs kl__pass_lay_inputs(struct kl__pass *p, enum kl__group group, int layer)
{
    struct kl__inputs x = {.n = kl__pass_keep(p, p->c->n_embd)};
    x.wide = kl__pass_keep(p, kl__layout_group(p->layout, p->value, group, layer).dim[0]);
    return x;
}

kl_status kl__pass_inputs(struct kl__pass *p, const struct kl__inputs *x, enum kl__group group, int layer, kl_tensor in)
{
    KL_TRY(kl__pass_norm(p, x->n, in, norm_of(group), layer, p->c->rms_eps));
    kl_tensor w = kl__layout_group(p->layout, p->value, group, layer);
    return kl__run_linear(&p->run, (kl_linear_args){.y = x->wide, .x = x->n, .w = w});
}

kl_status kl__pass_inputs_bwd(struct kl__pass *p, const struct kl__inputs *x, enum kl__group group, int layer,
                              kl_tensor in, kl_tensor d_wide, kl_tensor d_n, kl_tensor d)
{
    struct kl__carver mark = p->temp;
    bool add = kl__present(d_n);
    d_n = add ? d_n : kl__pass_temp(p, p->c->n_embd);
    kl_linear_bwd_args a = {.fwd = {.x = x->n, .w = kl__layout_group(p->layout, p->value, group, layer)},
                            .d_y = d_wide,
                            .d_x = d_n,
                            .d_w = kl__layout_group(p->layout, p->gradient, group, layer),
                            .add_dx = add};
    KL_TRY(kl__run_linear_bwd(&p->run, a));
    KL_TRY(kl__pass_norm_bwd(p, d_n, d_n, in, norm_of(group), layer, p->c->rms_eps));
    kl__run_rows(&p->run, d, d_n, true);
    p->temp = mark;
    return KL_OK;
}

/* ------------------------------------------------------------------------------------------------------ the pass -- */

enum { MOST_BLOCKS = 2 * KL_MAX_LAYERS };

static const struct kl__block *block_of(const struct kl__pass *p, int b)
{
    if (b % 2)
        return p->c->ffn[b / 2] == KL_FFN_MOE ? &kl__block_moe : &kl__block_dense;
    return p->c->mixer[b / 2] == KL_MIXER_MLA ? &kl__block_mla : &kl__block_recurrent;
}

/* Positions for RoPE, and ones where there are no convolutions. */
static void lay_constants(struct kl__pass *p)
{
    int64_t wide = 2 * kl__width_k(p->c) + kl__width_v(p->c);
    int64_t *position = p->c->rope ? kl__carve(&p->keep, (size_t)p->n_token, sizeof *position) : NULL;
    float *ones = p->c->n_conv ? NULL : kl__carve(&p->keep, (size_t)wide, sizeof *ones);
    p->position = position;
    p->ones = ones;
    if (p->run.measure)
        return;
    for (int64_t s = 0; position && s < p->batch->n_seq; s++)
        for (int64_t t = p->batch->cu_seqlens[s]; t < p->batch->cu_seqlens[s + 1]; t++)
            position[t] = t - p->batch->cu_seqlens[s];
    for (int64_t i = 0; ones && i < wide; i++)
        ones[i] = 1;
}

/* What a pass needs to find its way back. */
struct way {
    const uint8_t *recompute;   /* [n_layer], NULL: none */
    float *stream;              /* h_0, h_1, ...; without a way back only two of them, in turn */
    size_t record[MOST_BLOCKS]; /* where each begins in p->keep */
};

static kl_tensor h_of(const struct kl__pass *p, const struct way *w, int b)
{
    int64_t i = p->gradient ? b : b % 2;
    return kl_view2(w->stream + i * p->n_token * p->c->n_embd, KL_F32, p->n_token, p->c->n_embd);
}

static bool forgets(const struct kl__pass *p, const struct way *w, int b)
{
    return !p->gradient || (w->recompute && w->recompute[b / 2]);
}

static kl_status run_block(struct kl__pass *p, const struct way *w, int b)
{
    struct kl__carver mark = p->temp;
    p->forget = forgets(p, w, b);
    kl_status status = block_of(p, b)->forward(p, b / 2, h_of(p, w, b + 1), h_of(p, w, b));
    p->temp = mark;
    return status;
}

static kl_status run_block_back(struct kl__pass *p, const struct way *w, int b, kl_tensor d)
{
    p->keep.bytes = w->record[b];
    if (forgets(p, w, b))
        KL_TRY(run_block(p, w, b)); /* writes the same h_{b+1} again, and the record */
    p->keep.bytes = w->record[b];
    p->forget = forgets(p, w, b);
    struct kl__carver mark = p->temp;
    kl_status status = block_of(p, b)->backward(p, b / 2, h_of(p, w, b), d);
    p->temp = mark;
    return status;
}

static kl_embedding_args embedding(const struct kl__pass *p, kl_tensor h)
{
    return (kl_embedding_args){.y = h,
                               .table = kl__pass_value(p, KL__EMBED, -1),
                               .id = kl_view1((void *)(uintptr_t)p->batch->token, KL_I32, p->n_token)};
}

static kl_status run_back(struct kl__pass *p, const struct way *w, kl_tensor d)
{
    size_t kept = p->keep.bytes;
    p->load = NULL; /* counted on the way forwards */
    for (int b = 2 * p->c->n_layer - 1; b >= 0; b--)
        KL_TRY(run_block_back(p, w, b, d));
    p->keep.bytes = kept;
    kl_embedding_bwd_args a = {.fwd = embedding(p, d), .d_y = d, .d_table = kl__pass_gradient(p, KL__EMBED, -1)};
    return kl__run_embedding_bwd(&p->run, a);
}

kl_status kl__pass_run(struct kl__pass *p, const uint8_t *recompute, kl_loss *loss)
{
    int n_block = 2 * p->c->n_layer;
    struct way w = {.recompute = recompute};
    lay_constants(p);
    size_t n_kept = p->gradient ? (size_t)n_block + 1 : 2;
    w.stream = kl__carve(&p->keep, n_kept * (size_t)p->n_token * (size_t)p->c->n_embd, sizeof(float));
    KL_TRY(kl__run_embedding(&p->run, embedding(p, h_of(p, &w, 0))));
    for (int b = 0; b < n_block; b++) {
        w.record[b] = p->keep.bytes;
        KL_TRY(run_block(p, &w, b));
    }
    p->forget = !p->gradient;
    kl_tensor d = p->gradient ? kl__pass_temp(p, p->c->n_embd) : (kl_tensor){0};
    KL_TRY(kl__pass_head(p, loss, h_of(p, &w, n_block), d));
    return p->gradient ? run_back(p, &w, d) : KL_OK;
}
