/* Multi-head latent attention within each sequence of the batch. */
#include "base/error.h"
#include "tensor/tensor.h"
#include "train/pass.h"

struct record {
    struct kl__inputs x;
    kl_tensor q_low; /* [T][q_rank] normed; absent with one matrix */
    kl_tensor q;     /* [T][H (DN + DR)], turned; columns of x.wide with one matrix */
    kl_tensor row;   /* [T][R + DR]: normed latent, turned key channels */
    kl_tensor o;     /* [T][H DV] */
    kl_tensor lse;   /* [T][H] */
};

static struct record lay_out(struct kl__pass *p, int layer)
{
    const kl_config *c = p->c;
    struct record r = {.x = kl__pass_lay_inputs(p, KL__GROUP_MIXER, layer)};
    r.row = kl__pass_keep(p, kl__width_latent(c));
    r.o = kl__pass_keep(p, kl__width_o_mla(c));
    r.lse = kl__pass_keep(p, c->n_head);
    r.q = kl__pass_columns(p, r.x.wide, KL__MLA_Q, layer);
    if (c->q_rank) {
        r.q_low = kl__pass_keep(p, c->q_rank);
        r.q = kl__pass_keep(p, kl__width_q_mla(c));
    }
    return r;
}

/* Turns the shared slices of queries and keys by their positions, or their gradients back. */
static kl_status turn(struct kl__pass *p, kl_tensor q, kl_tensor row, bool back)
{
    const kl_config *c = p->c;
    if (!c->rope || !c->qk_rope)
        return KL_OK;
    /* Query heads are wider than what is turned: one call for each head, whose columns lie at the heads' distance. */
    for (int64_t h = -1; h < c->n_head; h++) {
        kl_rope_args a = {.position = p->position, .base = c->rope_base};
        a.x = h < 0 ? kl__pass_heads(row, c->kv_rank, 1, c->qk_rope)
                    : kl__pass_heads(q, h * (c->qk_nope + c->qk_rope) + c->qk_nope, 1, c->qk_rope);
        KL_TRY(back ? kl__run_rope_bwd(&p->run, a) : kl__run_rope(&p->run, a));
    }
    return KL_OK;
}

/* The rows of KV_B that make keys, and those that make values: [H][DN][R] and [H][DV][R]. */
static kl_tensor part_of_kv(const struct kl__pass *p, kl_tensor kv, int64_t first, int64_t rows)
{
    const kl_config *c = p->c;
    kl_tensor x = kl_view3((float *)kv.data + first * c->kv_rank, KL_F32, c->n_head, rows, c->kv_rank);
    x.pitch = (int64_t)(c->qk_nope + c->v_dim) * c->kv_rank;
    return x;
}

static kl_mla_args attention(const struct kl__pass *p, int layer, const struct record *r)
{
    const kl_config *c = p->c;
    kl_tensor kv = kl__pass_value(p, KL__MLA_KV_B, layer);
    return (kl_mla_args){.o = kl__pass_heads(r->o, 0, c->n_head, c->v_dim),
                         .lse = r->lse,
                         .q = kl__pass_heads(r->q, 0, c->n_head, c->qk_nope + c->qk_rope),
                         .cache = r->row,
                         .w_uk = part_of_kv(p, kv, 0, c->qk_nope),
                         .w_uv = part_of_kv(p, kv, c->qk_nope, c->v_dim),
                         .causal = true,
                         .form = KL_MLA_EXPANDED,
                         .cu_q = p->batch->cu_seqlens,
                         .n_seq = p->batch->n_seq};
}

static kl_status forward(struct kl__pass *p, int layer, kl_tensor out, kl_tensor in)
{
    const kl_config *c = p->c;
    struct record r = lay_out(p, layer);
    KL_TRY(kl__pass_inputs(p, &r.x, KL__GROUP_MIXER, layer, in));
    if (c->q_rank) {
        kl_tensor raw = kl__pass_columns(p, r.x.wide, KL__MLA_Q_A, layer);
        KL_TRY(kl__pass_norm(p, r.q_low, raw, KL__NORM_Q, layer, c->kv_norm_eps));
        KL_TRY(kl__pass_linear(p, r.q, r.q_low, KL__MLA_Q_B, layer, false));
    }
    kl_tensor raw = kl__pass_columns(p, r.x.wide, KL__MLA_KV_A, layer);
    KL_TRY(kl__pass_norm(p, kl__columns(r.row, 0, c->kv_rank), kl__columns(raw, 0, c->kv_rank), KL__NORM_KV, layer,
                         c->kv_norm_eps));
    kl__run_rows(&p->run, kl__columns(r.row, c->kv_rank, c->qk_rope), kl__columns(raw, c->kv_rank, c->qk_rope), false);
    KL_TRY(turn(p, r.q, r.row, false));
    KL_TRY(kl__run_mla(&p->run, attention(p, layer, &r)));
    kl__run_rows(&p->run, out, in, false);
    return kl__pass_linear(p, out, r.o, KL__MLA_O, layer, true);
}

static kl_status attention_back(struct kl__pass *p, int layer, const struct record *r, kl_tensor d_q, kl_tensor d_row,
                                kl_tensor d_o)
{
    const kl_config *c = p->c;
    kl_tensor d_kv = kl__pass_gradient(p, KL__MLA_KV_B, layer);
    kl_mla_bwd_args a = {.fwd = attention(p, layer, r),
                         .d_o = kl__pass_heads(d_o, 0, c->n_head, c->v_dim),
                         .d_q = kl__pass_heads(d_q, 0, c->n_head, c->qk_nope + c->qk_rope),
                         .d_cache = d_row,
                         .d_w_uk = part_of_kv(p, d_kv, 0, c->qk_nope),
                         .d_w_uv = part_of_kv(p, d_kv, c->qk_nope, c->v_dim)};
    KL_TRY(kl__run_mla_bwd(&p->run, a));
    return turn(p, d_q, d_row, true);
}

static kl_status backward(struct kl__pass *p, int layer, kl_tensor in, kl_tensor d)
{
    const kl_config *c = p->c;
    struct record r = lay_out(p, layer);
    kl_tensor d_wide = kl__pass_temp(p, r.x.wide.dim[1]), d_row = kl__pass_temp(p, r.row.dim[1]);
    kl_tensor d_o = kl__pass_temp(p, r.o.dim[1]);
    kl_tensor d_q = c->q_rank ? kl__pass_temp(p, r.q.dim[1]) : kl__pass_columns(p, d_wide, KL__MLA_Q, layer);
    KL_TRY(kl__pass_linear_bwd(p, d_o, d, r.o, KL__MLA_O, layer, false));
    KL_TRY(attention_back(p, layer, &r, d_q, d_row, d_o));
    if (c->q_rank) {
        kl_tensor d_low = kl__pass_columns(p, d_wide, KL__MLA_Q_A, layer);
        KL_TRY(kl__pass_linear_bwd(p, d_low, d_q, r.q_low, KL__MLA_Q_B, layer, false));
        KL_TRY(kl__pass_norm_bwd(p, d_low, d_low, kl__pass_columns(p, r.x.wide, KL__MLA_Q_A, layer), KL__NORM_Q, layer,
                                 c->kv_norm_eps));
    }
    kl_tensor raw = kl__pass_columns(p, r.x.wide, KL__MLA_KV_A, layer);
    kl_tensor d_raw = kl__pass_columns(p, d_wide, KL__MLA_KV_A, layer);
    KL_TRY(kl__pass_norm_bwd(p, kl__columns(d_raw, 0, c->kv_rank), kl__columns(d_row, 0, c->kv_rank),
                             kl__columns(raw, 0, c->kv_rank), KL__NORM_KV, layer, c->kv_norm_eps));
    kl__run_rows(&p->run, kl__columns(d_raw, c->kv_rank, c->qk_rope), kl__columns(d_row, c->kv_rank, c->qk_rope),
                 false);
    return kl__pass_inputs_bwd(p, &r.x, KL__GROUP_MIXER, layer, in, d_wide, (kl_tensor){0}, d);
}

const struct kl__block kl__block_mla = {forward, backward};
