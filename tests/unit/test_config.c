/* Configurations: config.json in all its spellings, GGUF metadata, what tensors tell, limits. */
#include "support/kt_file.h"

#include "base/error.h"
#include "format/writer.h"
#include "model/config_keys.h"
#include "model/params.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The released configuration. */
static const char released[] =
    "{\"architectures\": [\"KimiLinearForCausalLM\"], \"model_type\": \"kimi_linear\", \"dtype\": \"bfloat16\",\n"
    "\"vocab_size\": 163840, \"hidden_size\": 2304, \"num_hidden_layers\": 27, \"intermediate_size\": 9216,\n"
    "\"hidden_act\": \"silu\", \"rms_norm_eps\": 1e-05, \"tie_word_embeddings\": false, \"num_attention_heads\": 32,\n"
    "\"num_key_value_heads\": 32, \"head_dim\": 72, \"q_lora_rank\": null, \"kv_lora_rank\": 512,\n"
    "\"qk_nope_head_dim\": 128, \"qk_rope_head_dim\": 64, \"v_head_dim\": 128, \"mla_use_nope\": true,\n"
    "\"rope_theta\": 10000.0, \"rope_scaling\": null,\n"
    "\"linear_attn_config\": {\"num_heads\": 32, \"head_dim\": 128, \"short_conv_kernel_size\": 4,\n"
    "\"kda_layers\": [1,2,3,5,6,7,9,10,11,13,14,15,17,18,19,21,22,23,25,26],\n"
    "\"full_attn_layers\": [4,8,12,16,20,24,27]},\n"
    "\"num_experts\": 256, \"num_experts_per_token\": 8, \"num_shared_experts\": 1, \"moe_intermediate_size\": 1024,\n"
    "\"first_k_dense_replace\": 1, \"moe_layer_freq\": 1, \"moe_router_activation_func\": \"sigmoid\",\n"
    "\"moe_renormalize\": true, \"routed_scaling_factor\": 2.446, \"use_grouped_topk\": true,\n"
    "\"num_expert_group\": 1, \"topk_group\": 1, \"num_nextn_predict_layers\": 0, \"model_max_length\": 1048576,\n"
    "\"bos_token_id\": 163584, \"eos_token_id\": 163586, \"pad_token_id\": 163839}";

/* A sibling of four layers, the third with MLA. */
static const char small[] =
    "{\"model_type\": \"kimi_linear\", \"vocab_size\": 1000, \"hidden_size\": 64, \"num_hidden_layers\": 4,\n"
    "\"intermediate_size\": 96, \"num_attention_heads\": 2, \"kv_lora_rank\": 16, \"qk_nope_head_dim\": 8,\n"
    "\"qk_rope_head_dim\": 4, \"v_head_dim\": 8, \"rms_norm_eps\": 1e-5,\n"
    "\"linear_attn_config\": {\"num_heads\": 2, \"head_dim\": 16, \"short_conv_kernel_size\": 4,\n"
    "\"kda_layers\": [1,2,4], \"full_attn_layers\": [3]},\n"
    "\"num_experts\": 8, \"num_experts_per_token\": 2, \"moe_intermediate_size\": 32, \"first_k_dense_replace\": 1}";

/* The text with `from` (which stands in it) made `to`. */
static const char *with(const char *text, const char *from, const char *to)
{
    static char changed[8][4096];
    static int next;
    char *t = changed[next++ % 8];
    const char *at = strstr(text, from);
    assert_non_null(at);
    size_t before = (size_t)(at - text), bytes = strlen(to);
    memmove(t, text, before);
    memcpy(t + before, to, bytes);
    memmove(t + before + bytes, at + strlen(from), strlen(at + strlen(from)) + 1);
    return t;
}

/* A key in front of the others. */
static const char *plus(const char *text, const char *key)
{
    char first[600];
    snprintf(first, sizeof first, "{%s, ", key);
    return with(text, "{", first);
}

static kl_status read_json(kl_config *c, const char *text, kl_error *err)
{
    KL_TRY(kl__config_of_json(c, kl__str(text), "x/config.json", err));
    return kl__config_settle(c, NULL, "x/config.json", err);
}

static kl_config good(const char *text)
{
    kl_config c = {0};
    KT_OK(read_json(&c, text, KT_ERR));
    return c;
}

static void need_jansson(void)
{
    if (KT_WITH_JANSSON)
        return;
    print_message("skipped: klinear was built without jansson\n");
    skip();
}

static void the_release(void **state)
{
    (void)state;
    need_jansson();
    kl_config c = good(released);
    assert_true(c.n_layer == 27 && c.n_vocab == 163840 && c.n_embd == 2304 && c.n_context == 1 << 20);
    for (int i = 0; i < 27; i++) {
        assert_int_equal(c.mixer[i], i % 4 == 3 || i == 26 ? KL_MIXER_MLA : KL_MIXER_KDA);
        assert_int_equal(c.ffn[i], i ? KL_FFN_MOE : KL_FFN_DENSE);
    }
    assert_true(c.rms_eps == 1e-5F && c.kv_norm_eps == 1e-5F && !c.tied && !c.rope && c.rope_base == 10000);
    assert_true(c.n_kda_head == 32 && c.n_kda_v_head == 32 && c.kda_k == 128 && c.kda_v == 128 && c.n_conv == 4);
    assert_true(c.decay_rank == 128 && c.gate_rank == 128 && c.gate_act == KL_ACT_SIGMOID && !c.gate_bounded);
    assert_true(c.n_head == 32 && !c.q_rank && c.kv_rank == 512 && c.qk_nope == 128 && c.qk_rope == 64);
    assert_true(c.v_dim == 128 && c.n_ff == 9216 && c.n_expert == 256 && c.n_expert_used == 8);
    assert_true(c.n_expert_shared == 1 && c.n_ff_expert == 1024 && !c.router_softmax && c.router_renormalise);
    assert_true(c.router_scale == 2.446F && c.n_group == 1 && c.topk_group == 1 && !c.conv_bias && !c.neg_eigval);
    assert_true(c.bos == 163584 && c.eos == 163586 && c.pad == 163839);
}

/* Bytes that a sequence takes, as derived in the specification of the model: fixed, and per token. */
static void the_cost_of_the_release(void **state)
{
    (void)state;
    need_jansson();
    kl_config c = good(released);
    kl_state_cost cost = kl_config_state_cost(&c, KL_CACHE_BF16);
    assert_int_equal(cost.token_bytes, 8064);
    assert_int_equal(cost.fixed_bytes, 20 * (2097152 + 3 * 3 * 4096 * 4));
    memset(c.mixer, KL_MIXER_MLA, sizeof c.mixer);
    cost = kl_config_state_cost(&c, KL_CACHE_BF16);
    assert_int_equal(cost.token_bytes, 27 * 1152);
    assert_int_equal(cost.fixed_bytes, 0);
}

/* Names and shapes of all parameters: 20,493 tensors of the release, 49,122,681,728 numbers. */
static void parameters_of_the_release(void **state)
{
    (void)state;
    need_jansson();
    kl_config c = good(released);
    int64_t n_tensor = 0, n_number = 0, dim[2];
    for (int layer = -1; layer < c.n_layer; layer++)
        for (int p = 0; p < KL__N_PARAM; p++)
            if (kl__param_present(&c, (enum kl__param)p, layer)) {
                int64_t each = kl__param_info((enum kl__param)p)->form == KL__FORM_EXPERTS ? c.n_expert : 1;
                int64_t n = kl__param_dims(&c, (enum kl__param)p, layer, dim) == 2 ? dim[0] * dim[1] : dim[0];
                n_tensor += each;
                n_number += each * n;
            }
    assert_int_equal(n_tensor, 20493);
    assert_true(n_number == 49122681728);
}

static void defaults_and_aliases(void **state)
{
    (void)state;
    need_jansson();
    kl_config c = good(with(with(small, "\"vocab_size\": 1000, ", ""), ", \"rms_norm_eps\": 1e-5", ""));
    assert_true(c.n_vocab == 163840 && c.rms_eps == 1e-6F && c.n_expert_shared == 0 && c.router_scale == 1);
    assert_true(c.bos == -1 && c.eos == -1 && !c.rope && c.router_renormalise && !c.router_softmax);
    c = good(
        plus(with(with(small, "num_experts\"", "n_routed_experts\""), "num_experts_per_token", "num_experts_per_tok"),
             "\"norm_topk_prob\": false, \"n_group\": 4, \"topk_group\": 2, \"n_shared_experts\": 2, "
             "\"max_position_embeddings\": 4096, \"moe_router_activation_func\": \"softmax\", "
             "\"eos_token_id\": [7, 8], \"bos_token_id\": 5000"));
    assert_true(c.n_expert == 8 && c.n_expert_used == 2 && !c.router_renormalise && c.n_group == 4);
    assert_true(c.topk_group == 2 && c.n_expert_shared == 2 && c.n_context == 4096 && c.router_softmax);
    assert_true(c.eos == 7 && c.bos == -1); /* an id outside of the vocabulary is none */
    kl_error err;
    KT_ASSERT_FAILED(read_json(&c, plus(small, "\"num_local_experts\": 9"), &err), KL_ERR_FORMAT, &err,
                     "num_local_experts", "is 9", "what 'num_experts' says, 8");
}

/* The spelling of the native port: types by layer, flat names. */
static void native_names(void **state)
{
    (void)state;
    need_jansson();
    const char *lists = strstr(small, "\"linear_attn_config\""), *end = strstr(lists, "},") + 2;
    char object[400];
    snprintf(object, sizeof object, "%.*s", (int)(end - lists), lists);
    const char *native = with(small, object,
                              "\"linear_num_heads\": 2, \"linear_head_dim\": 16, \"linear_conv_kernel_dim\": 4, "
                              "\"layer_types\": [\"linear_attention\", \"linear_attention\", \"full_attention\", "
                              "\"linear_attention\"],");
    kl_config a = good(small), b = good(native);
    assert_memory_equal(&a, &b, sizeof a);
    b = good(plus(native, "\"mlp_layer_types\": [\"sparse\", \"dense\", \"sparse\", \"dense\"]"));
    for (int i = 0; i < 4; i++)
        assert_int_equal(b.ffn[i], i % 2 ? KL_FFN_DENSE : KL_FFN_MOE);
    kl_error err;
    KT_ASSERT_FAILED(read_json(&b, with(native, "\"full_attention\"", "\"sliding_attention\""), &err), KL_ERR_FORMAT,
                     &err, "layer_types", "'sliding_attention'", "full_attention or linear_attention");
    KT_ASSERT_FAILED(read_json(&b, with(native, ", \"full_attention\"", ""), &err), KL_ERR_FORMAT, &err, "layer_types",
                     "4 names");
}

/* Both lists are read, and every way in which they can be wrong is. */
static void layer_lists(void **state)
{
    (void)state;
    need_jansson();
    kl_error err;
    kl_config c;
    KT_ASSERT_FAILED(read_json(&c, with(small, "[1,2,4]", "[1,2]"), &err), KL_ERR_FORMAT, &err, "config.json",
                     "layer 4 stands neither");
    KT_ASSERT_FAILED(read_json(&c, with(small, "[1,2,4]", "[1,2,3,4]"), &err), KL_ERR_FORMAT, &err, "full_attn_layers",
                     "is 3", "every layer once");
    KT_ASSERT_FAILED(read_json(&c, with(small, "[1,2,4]", "[0,1,2,4]"), &err), KL_ERR_FORMAT, &err, "kda_layers",
                     "is 0", "1 .. 4");
    KT_ASSERT_FAILED(read_json(&c, with(small, "[1,2,4]", "[1,2,5]"), &err), KL_ERR_FORMAT, &err, "kda_layers", "is 5",
                     "1 .. 4");
    KT_ASSERT_FAILED(read_json(&c, with(small, "[1,2,4]", "[1,2,4.0]"), &err), KL_ERR_FORMAT, &err, "kda_layers",
                     "layers in");
    KT_ASSERT_FAILED(read_json(&c, with(small, ", \"full_attn_layers\": [3]", ""), &err), KL_ERR_FORMAT, &err,
                     "linear_attn_config", "full_attn_layers");
    KT_ASSERT_FAILED(read_json(&c, with(small, "\"kda_layers\": [1,2,4]", "\"kda_layers\": 3"), &err), KL_ERR_FORMAT,
                     &err, "kda_layers", "a list");
    const char *types = "\"layer_types\": [\"linear_attention\", \"full_attention\", \"full_attention\", "
                        "\"linear_attention\"]";
    KT_ASSERT_FAILED(read_json(&c, plus(small, types), &err), KL_ERR_FORMAT, &err, "layer_types says full_attention",
                     "layer 1");
    const char *all_mla = with(with(small, "[1,2,4]", "[]"), "[3]", "[4,3,2,1]");
    c = good(all_mla);
    assert_int_equal(kl__n_mla(&c), 4);
}

static void variants(void **state)
{
    (void)state;
    need_jansson();
    const char *at = "\"num_heads\": 2";
    kl_error err;
    kl_config c = good(with(small, at,
                            "\"num_heads\": 2, \"safe_gate\": true, \"lower_bound\": -4.5, \"allow_neg_eigval\": true, "
                            "\"num_v_heads\": 6, \"expand_v\": 1.5, \"klinear_gate_activation\": \"silu\", "
                            "\"klinear_gate_rank\": 0, \"conv_bias\": true"));
    assert_true(c.gate_bounded && c.gate_lower_bound == -4.5F && c.neg_eigval && c.n_kda_v_head == 6 && c.kda_v == 24);
    assert_true(c.gate_act == KL_ACT_SILU && c.gate_rank == 0 && c.conv_bias && c.decay_rank == 24);
    const char *two = plus(with(small, at, "\"num_heads\": 2, \"safe_gate\": false"), "\"safe_gate\": true");
    KT_ASSERT_FAILED(read_json(&c, two, &err), KL_ERR_FORMAT, &err, "'safe_gate'", "other name");
    c = good(plus(small, "\"safe_gate\": true, \"use_short_conv\": false, \"mla_use_nope\": false, "
                         "\"rope_theta\": 50000, \"q_lora_rank\": 24, \"klinear_mixer\": \"gdn\", "
                         "\"klinear_kv_a_norm_eps\": 1e-6, \"tie_word_embeddings\": true"));
    assert_true(c.gate_bounded && c.gate_lower_bound == -5 && c.n_conv == 0 && c.rope && c.rope_base == 50000);
    assert_true(c.q_rank == 24 && c.kv_norm_eps == 1e-6F && c.tied);
    for (int i = 0; i < 4; i++)
        assert_int_equal(c.mixer[i], i == 2 ? KL_MIXER_MLA : KL_MIXER_GDN);
    c = good(plus(small, "\"klinear_mixer\": [\"mamba2\", \"kda\", \"mla\", \"deltanet\"]"));
    assert_true(c.mixer[0] == KL_MIXER_MAMBA2 && c.mixer[1] == KL_MIXER_KDA && c.mixer[3] == KL_MIXER_DELTANET);
    KT_ASSERT_FAILED(read_json(&c, plus(small, "\"klinear_mixer\": \"rwkv\""), &err), KL_ERR_FORMAT, &err,
                     "klinear_mixer", "'rwkv'", "gdn");
    KT_ASSERT_FAILED(read_json(&c, plus(small, "\"klinear_mixer\": [\"kda\", \"mla\", \"mla\", \"kda\"]"), &err),
                     KL_ERR_FORMAT, &err, "klinear_mixer", "mla in the layers");
}

static void refusals(void **state)
{
    (void)state;
    need_jansson();
    kl_error err;
    kl_config c;
    static const struct {
        const char *from, *to;
        kl_status status;
        const char *word[3];
    } bad[] = {
        {"kimi_linear", "llama", KL_ERR_UNSUPPORTED, {"'llama'", "expected kimi_linear", "x/config.json"}},
        {"\"model_type\": \"kimi_linear\", ", "", KL_ERR_FORMAT, {"'model_type'", "missing", "config.json"}},
        {"\"hidden_size\": 64, ", "", KL_ERR_FORMAT, {"'hidden_size'", "missing", "config.json"}},
        {"\"kv_lora_rank\": 16, ", "", KL_ERR_FORMAT, {"'kv_lora_rank'", "missing", "config.json"}},
        {"\"num_heads\": 2, ", "", KL_ERR_FORMAT, {"linear_attn_config.num_heads", "missing", "config.json"}},
        {"\"moe_intermediate_size\": 32, ", "", KL_ERR_FORMAT, {"'moe_intermediate_size'", "missing", ""}},
        {"64", "-64", KL_ERR_FORMAT, {"'hidden_size'", "is -64", "1 .. 1048576"}},
        {"64", "64.5", KL_ERR_FORMAT, {"'hidden_size'", "is 64.5", "an integer"}},
        {"64", "99999999999999999999", KL_ERR_FORMAT, {"config.json", "", ""}},
        {"64", "1e999", KL_ERR_FORMAT, {"config.json", "", ""}},
        {"64", "\"64\"", KL_ERR_FORMAT, {"'hidden_size'", "is '64'", "an integer"}},
        {"64", "[64]", KL_ERR_FORMAT, {"'hidden_size'", "is a list", "an integer"}},
        {"1e-5", "2", KL_ERR_FORMAT, {"'rms_norm_eps'", "is 2", "0 .. 1"}},
        {"\"num_hidden_layers\": 4", "\"num_hidden_layers\": 513", KL_ERR_FORMAT, {"num_hidden_layers", "513", "512"}},
        {"\"num_experts_per_token\": 2",
         "\"num_experts_per_token\": 9",
         KL_ERR_FORMAT,
         {"num_experts_per", "is 9", ""}},
        {"_size\": 4", "_size\": 17", KL_ERR_FORMAT, {"short_conv_kernel_size", "is 17", "16"}},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        KT_ASSERT_FAILED(read_json(&c, with(small, bad[i].from, bad[i].to), &err), bad[i].status, &err, bad[i].word[0],
                         bad[i].word[1], bad[i].word[2]);
    static const struct {
        const char *key;
        kl_status status;
        const char *word[2];
    } extra[] = {
        {"\"hidden_act\": \"gelu\"", KL_ERR_FORMAT, {"hidden_act", "expected silu"}},
        {"\"moe_router_activation_func\": \"tanh\"", KL_ERR_FORMAT, {"'tanh'", "sigmoid or softmax"}},
        {"\"num_nextn_predict_layers\": 1", KL_ERR_UNSUPPORTED, {"num_nextn_predict_layers", "more than one token"}},
        {"\"quantization_config\": {}", KL_ERR_UNSUPPORTED, {"quantization_config", "quantised"}},
        {"\"num_key_value_heads\": 1", KL_ERR_UNSUPPORTED, {"num_key_value_heads", "differs"}},
        {"\"mla_use_nope\": false, \"rope_scaling\": {\"type\": \"yarn\"}", KL_ERR_UNSUPPORTED, {"rope_scaling", ""}},
        {"\"num_expert_group\": 3", KL_ERR_FORMAT, {"num_expert_group", "divisor"}},
        {"\"num_expert_group\": 8", KL_ERR_FORMAT, {"num_expert_group", "2 experts a group"}},
        {"\"num_expert_group\": 4, \"topk_group\": 5", KL_ERR_FORMAT, {"topk_group is 5", "num_expert_group"}},
        {"\"num_v_heads\": 3", KL_ERR_FORMAT, {"num_v_heads is 3", "multiple"}},
        {"\"lower_bound\": 3", KL_ERR_FORMAT, {"lower_bound", "is 3"}},
        {"\"hidden_size\": 8", KL_ERR_FORMAT, {"duplicate", "config.json"}},
        {"\"bos_token_id\": true", KL_ERR_FORMAT, {"bos_token_id", "is true"}},
    };
    for (size_t i = 0; i < sizeof extra / sizeof *extra; i++)
        KT_ASSERT_FAILED(read_json(&c, plus(small, extra[i].key), &err), extra[i].status, &err, extra[i].word[0],
                         extra[i].word[1]);
    KT_ASSERT_FAILED(read_json(&c, "[]", &err), KL_ERR_FORMAT, &err, "x/config.json", "no object");
    KT_ASSERT_FAILED(read_json(&c, "{", &err), KL_ERR_FORMAT, &err, "x/config.json", "configuration");
}

/* Each number is within its limits, and their product is what no machine holds. */
static void sizes_that_cannot_be(void **state)
{
    (void)state;
    need_jansson();
    kl_error err;
    kl_config c;
    const char *wide = with(with(small, "1000", "16777216"), "64", "1048576");
    KT_ASSERT_FAILED(read_json(&c, wide, &err), KL_ERR_UNSUPPORTED, &err, "EMBED", "16777216 x 1048576", "2^40");
    const char *many = with(with(small, "\"num_experts\": 8", "\"num_experts\": 65536"), ": 32,", ": 1048576,");
    KT_ASSERT_FAILED(read_json(&c, many, &err), KL_ERR_UNSUPPORTED, &err, "EXPERT_GATE", "65536 x 1048576");
    const char *deep = with(small, "\"num_heads\": 2, \"head_dim\": 16", "\"num_heads\": 65536, \"head_dim\": 65536");
    KT_ASSERT_FAILED(read_json(&c, deep, &err), KL_ERR_UNSUPPORTED, &err, "a state", "65536 x 65536 x 65536");
}

/* ---------------------------------------------------------------------------------------------------------- GGUF -- */

/* Metadata of the small model, as another tool writes it; tensors that tell shapes. */
struct file {
    int mixed;        /* 1: layers of two recurrences */
    const char *skip; /* key to leave out */
    const char *odd;  /* key to write as a string */
    uint32_t experts;
    bool gate_full, headless;
};

static void put_u32(struct kl__writer *w, const struct file *f, const char *key, uint32_t value)
{
    char name[80];
    snprintf(name, sizeof name, "kimi-linear.%s", key);
    struct kl__meta m =
        f->odd && strcmp(f->odd, key) == 0 ? kl__meta_string(name, kl__str("text")) : kl__meta_u32(name, value);
    if (!f->skip || strcmp(f->skip, key) != 0)
        KT_OK(kl__writer_meta(w, &m, KT_ERR));
}

static void put_matrix(struct kl__writer *w, const char *name, int64_t rows, int64_t columns, int64_t *n)
{
    KT_OK(kl__writer_tensor(w, name, KL__TYPE_F16, 2, (int64_t[]){rows, columns}, KT_ERR));
    *n += 1;
}

static const char *write_gguf(const struct file *f)
{
    static const int32_t heads[4] = {0, 0, 1, 0};
    const char *path = kt_path("m.gguf");
    struct kl__writer *w;
    static const unsigned char zeros[1 << 17];
    KT_OK(kl__writer_open(&w, path, "gguf", NULL, KT_ERR));
    struct kl__meta arch = kl__meta_string("general.architecture",
                                           kl__str(f->odd && strcmp(f->odd, "arch") == 0 ? "llama" : "kimi-linear"));
    KT_OK(kl__writer_meta(w, &arch, KT_ERR));
    static const struct {
        const char *key;
        uint32_t value;
    } number[] = {
        {"block_count", 4},          {"embedding_length", 64},          {"feed_forward_length", 96},
        {"attention.head_count", 2}, {"attention.kv_lora_rank", 16},    {"attention.key_length_mla", 12},
        {"rope.dimension_count", 4}, {"attention.value_length_mla", 8}, {"ssm.conv_kernel", 4},
        {"kda.head_dim", 16},        {"expert_used_count", 2},          {"expert_feed_forward_length", 32},
        {"expert_gating_func", 2},   {"leading_dense_block_count", 1},
    };
    for (size_t i = 0; i < sizeof number / sizeof *number; i++)
        put_u32(w, f, number[i].key, number[i].value);
    put_u32(w, f, "expert_count", f->experts ? f->experts : 8);
    struct kl__meta eps = kl__meta_f32("kimi-linear.attention.layer_norm_rms_epsilon", 1e-5F);
    struct kl__meta map = kl__meta_numbers("kimi-linear.attention.head_count_kv", KL__META_I32, heads,
                                           f->skip && strcmp(f->skip, "a head") == 0 ? 3 : 4);
    KT_OK(kl__writer_meta(w, &eps, KT_ERR));
    KT_OK(kl__writer_meta(w, &map, KT_ERR));
    struct kl__str names[4] = {kl__str("gdn"), kl__str("kda"), kl__str("mla"), kl__str("gla")};
    struct kl__meta mixers = kl__meta_strings("kimi-linear.klinear.mixer", names, 4);
    if (f->mixed)
        KT_OK(kl__writer_meta(w, &mixers, KT_ERR));
    int64_t n = 0;
    put_matrix(w, "token_embd.weight", 1000, 64, &n);
    if (!f->headless)
        put_matrix(w, "output.weight", 1000, 64, &n);
    put_matrix(w, "blk.1.ssm_f_a.weight", 20, 64, &n);
    put_matrix(w, f->gate_full ? "blk.1.ssm_g.weight" : "blk.1.ssm_g_a.weight", 24, 64, &n);
    KT_OK(kl__writer_begin(w, KT_ERR));
    for (int64_t i = 0; i < n; i++)
        KT_OK(kl__writer_append(w, i, zeros, i < n - 2 ? 128000 : i == n - 2 ? 2560 : 3072, KT_ERR));
    KT_OK(kl__writer_finish(w, KT_ERR));
    return path;
}

static kl_status read_gguf(kl_config *c, const struct file *f, kl_error *err)
{
    struct kl__store *s;
    const char *path = write_gguf(f);
    KT_OK(kl__store_open(&s, path, NULL, KT_ERR));
    kl_status status = kl__config_read(c, s, path, err);
    kl__store_close(s);
    kt_remove_files();
    return status;
}

static void metadata(void **state)
{
    (void)state;
    kl_config c;
    KT_OK(read_gguf(&c, &(struct file){0}, KT_ERR));
    assert_true(c.n_layer == 4 && c.n_embd == 64 && c.n_vocab == 1000 && !c.tied && c.kda_k == 16 && c.kda_v == 16);
    assert_true(c.n_kda_head == 2 && c.qk_nope == 8 && c.qk_rope == 4 && c.v_dim == 8 && c.n_conv == 4);
    assert_true(c.decay_rank == 20 && c.gate_rank == 24 && c.kv_norm_eps == 1e-5F && c.rms_eps == 1e-5F);
    assert_true(c.n_expert_shared == 0 && c.router_renormalise && c.router_scale == 1 && !c.rope);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(c.mixer[i], i == 2 ? KL_MIXER_MLA : KL_MIXER_KDA);
        assert_int_equal(c.ffn[i], i ? KL_FFN_MOE : KL_FFN_DENSE);
    }
    KT_OK(read_gguf(&c, &(struct file){.mixed = 1, .gate_full = true, .headless = true}, KT_ERR));
    assert_true(c.mixer[0] == KL_MIXER_GDN && c.mixer[1] == KL_MIXER_KDA && c.mixer[3] == KL_MIXER_GLA);
    assert_true(c.gate_rank == 0 && c.tied);
}

static void refused_metadata(void **state)
{
    (void)state;
    kl_error err;
    kl_config c;
    KT_ASSERT_FAILED(read_gguf(&c, &(struct file){.odd = "arch"}, &err), KL_ERR_UNSUPPORTED, &err, "m.gguf", "'llama'",
                     "kimi-linear");
    static const char *const needed[] = {"block_count",          "embedding_length",     "feed_forward_length",
                                         "attention.head_count", "kda.head_dim",         "attention.kv_lora_rank",
                                         "expert_used_count",    "rope.dimension_count", "attention.value_length_mla"};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        KT_ASSERT_FAILED(read_gguf(&c, &(struct file){.skip = needed[i]}, &err), KL_ERR_FORMAT, &err, "m.gguf",
                         needed[i], "missing");
    KT_ASSERT_FAILED(read_gguf(&c, &(struct file){.odd = "kda.head_dim"}, &err), KL_ERR_FORMAT, &err, "kda.head_dim",
                     "string");
    KT_ASSERT_FAILED(read_gguf(&c, &(struct file){.skip = "a head"}, &err), KL_ERR_FORMAT, &err, "head_count_kv",
                     "3 items", "4 layers");
    KT_ASSERT_FAILED(read_gguf(&c, &(struct file){.experts = 1u << 31}, &err), KL_ERR_FORMAT, &err, "expert_count",
                     "2147483648");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_release),
        cmocka_unit_test(the_cost_of_the_release),
        cmocka_unit_test(parameters_of_the_release),
        cmocka_unit_test(defaults_and_aliases),
        cmocka_unit_test(native_names),
        cmocka_unit_test(layer_lists),
        cmocka_unit_test(variants),
        cmocka_unit_test(refusals),
        cmocka_unit_test(sizes_that_cannot_be),
        cmocka_unit_test(metadata),
        cmocka_unit_test(refused_metadata),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
