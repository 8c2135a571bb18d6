/** Models: their description, their weights out of files, and the files themselves: read, made, converted. */
#ifndef KLINEAR_KL_MODEL_H
#define KLINEAR_KL_MODEL_H

#include "klinear/kl/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --------------------------------------------------------------------------------------------------------- model -- */

enum {
    KL_MAX_LAYERS = 512,
};

/** What lets tokens of a layer see each other. */
typedef enum kl_mixer {
    KL_MIXER_KDA = 0, /* Kimi Delta Attention */
    KL_MIXER_MLA,     /* multi-head latent attention */
    KL_MIXER_GDN,     /* Gated DeltaNet: one decay per head */
    KL_MIXER_DELTANET, /* no decay */
    KL_MIXER_MAMBA2,  /* one decay per head, writes without erasing */
    KL_MIXER_GLA,     /* a decay per channel, writes without erasing */
    KL_MIXER_LINEAR,  /* no decay, writes without erasing */
    KL_N_MIXER
} kl_mixer;
/** "kda", "mla", "gdn", ...; "?" for a value that is no mixer.  Static storage. */
KL_API const char *kl_mixer_name(kl_mixer mixer);

typedef enum kl_ffn {
    KL_FFN_DENSE = 0,
    KL_FFN_MOE,
} kl_ffn;

/** A model's description: plain numbers.  The keys of config.json that they come from are in docs/formats.md. */
typedef struct kl_config {
    int n_layer;                   /* 1 .. KL_MAX_LAYERS */
    uint8_t mixer[KL_MAX_LAYERS];  /* [n_layer] kl_mixer */
    uint8_t ffn[KL_MAX_LAYERS];    /* [n_layer] kl_ffn */
    int n_vocab, n_embd;           /* rows of the embedding, width of the residual stream */
    float rms_eps;
    bool tied;                     /* the head is the embedding */
    int64_t n_context;             /* longest sequence it was made for; informational */

    /* recurrent mixers */
    int n_kda_head, n_kda_v_head;  /* H key heads, HV value heads, a multiple of H */
    int kda_k, kda_v;              /* K and V */
    int n_conv;                    /* taps of the short convolution; 0: none, SiLU of the projection directly */
    bool conv_bias;
    int decay_rank;                /* width between the two matrices of the decay gate */
    int gate_rank;                 /* the same of the output gate; 0: one full matrix */
    int gate_act;                  /* of the output gate, a kl_activation: 0 none, and no gate; 1 sigmoid; 2 SiLU */
    bool gate_bounded;             /* decay = lower_bound sigmoid(..) instead of -exp(A_log) softplus(..) */
    float gate_lower_bound;        /* < 0; only with gate_bounded */
    bool neg_eigval;               /* beta in 0 .. 2 */

    /* multi-head latent attention */
    int n_head;
    int q_rank;                    /* 0: one matrix for the queries */
    int kv_rank;                   /* R: width of the latent */
    int qk_nope, qk_rope, v_dim;   /* DN, DR, DV */
    float kv_norm_eps;
    bool rope;                     /* rotate the DR columns; the released model does not */
    float rope_base;

    /* feed-forward */
    int n_ff;                      /* width of dense layers */
    int n_expert, n_expert_used, n_expert_shared;
    int n_ff_expert;               /* width of one expert */
    bool router_softmax;           /* false: sigmoid scores */
    bool router_renormalise;
    bool router_weight_biased;     /* weights from biased scores, as the remote code of the release computes them */
    float router_scale;
    int n_group, topk_group;       /* 1, 1: no groups */

    int64_t bos, eos, pad;         /* token ids; -1: none */
} kl_config;

/** Bytes that one sequence keeps: the same for every length, and per token. */
typedef struct kl_state_cost {
    int64_t fixed_bytes;     /* recurrent states f32 and tails of the convolutions f32 */
    int64_t token_bytes;     /* latents of one token, all MLA layers, in the cache's element type */
    int64_t page_bytes;      /* of KL_PAGE_TOKENS tokens: the unit in which latents take memory */
} kl_state_cost;

enum {
    KL_PAGE_TOKENS = 64,
};

/** Element types of the latent cache. */
typedef enum kl_cache_type {
    KL_CACHE_BF16 = 0,
    KL_CACHE_F32,
    KL_CACHE_Q8_0, /* blocks of 32 numbers with one scale: 34 bytes */
} kl_cache_type;
/** "bf16", "f32", "q8_0"; "?" for a value that is no cache type.  Static storage. */
KL_API const char *kl_cache_type_name(kl_cache_type type);

/** What a sequence of a model with this configuration keeps. */
KL_API kl_state_cost kl_config_state_cost(const kl_config *config, kl_cache_type type);

/** A model: configuration and weights out of a file.  Read-only once open; shared by any number of engines
 *  and threads. */
typedef struct kl_model kl_model;

typedef struct kl_model_options {
    const kl_backend *backend;  /* borrowed, must outlive the model; NULL is not allowed */
    const kl_allocator *alloc;  /* borrowed; NULL: the C library's */
    bool router_weight_biased;  /* see kl_config */
    /** Activations stay f32 in products with quantised and bf16 weights: slower, and as accurate as the weights.
     *  False: they may be rounded to 8 bits in blocks of 32, or to bf16, where the machine multiplies those faster. */
    bool exact;
} kl_model_options;

/** Opens a directory in Hugging Face layout, or a GGUF file.  Weights are mapped and read when they are first used;
 *  small tensors (norms, convolutions, gates) are converted to f32 here.  Every tensor's shape is checked against the
 *  configuration.  The caller closes the model after every engine that uses it.
 *  Errors: KL_ERR_IO, KL_ERR_FORMAT, KL_ERR_SHAPE, KL_ERR_UNSUPPORTED, KL_ERR_MEMORY, KL_ERR_ARGUMENT. */
KL_API kl_status kl_model_open(kl_model **model, const char *path, const kl_model_options *options, kl_error *err);
KL_API void kl_model_close(kl_model *model);
/** Copies the matrices of products into the layout that the backend multiplies fastest with, where it has one for their
 *  types: takes kl_model_packed_bytes() of memory, and the speed of memory; parts of the file that have been copied are
 *  given back.  The same bits come out with it as without.  Before the first engine.
 *  Errors: KL_ERR_MEMORY (then nothing has changed).   [T: engine/engine_bits] */
KL_API kl_status kl_model_pack(kl_model *model, kl_error *err);
/** The same piece by piece, for somebody who does not want to wait for it: packs matrices until they are `bytes` or
 *  more; *more: some are left.  The first call takes the memory for all.  Between two steps, also after engines have
 *  been opened, but not while one is inside a step: steps find what has been packed, with the same bits all along.
 *  Errors: KL_ERR_MEMORY (then nothing has changed).   [T: engine/engine_bits] */
KL_API kl_status kl_model_pack_some(kl_model *model, int64_t bytes, bool *more, kl_error *err);
/** What that takes, or has taken. */
KL_API int64_t kl_model_packed_bytes(const kl_model *model);
/** The same by way of a file in `folder`, which must exist: where a fitting one is, it is mapped (*found), which takes
 *  milliseconds; else matrices are packed in memory, and the file is written for the next time, complete or not at all.
 *  Its name is a hash of what was packed; files of other models are left alone; one that is stale, cut short or changed
 *  is replaced.  It must not change while it is mapped, as a model's own files.
 *  Errors: KL_ERR_MEMORY; KL_ERR_IO (the file could not be written; the model is packed all the same).
 *  [T: unit/pack_file] */
KL_API kl_status kl_model_pack_in(kl_model *model, const char *folder, bool *found, kl_error *err);

/** What the weights of a model consist of, where they are to take less memory than their files. */
typedef struct kl_model_split {
    int64_t fixed_bytes;   /* matrices that every token meets, in the layout that they are kept in */
    int64_t expert_bytes;  /* one routed expert */
    int64_t n_expert;      /* of all layers; 0: there are none, and nothing can be left on the disk */
    int64_t token_experts; /* of which a token meets so many */
    int64_t least_bytes;   /* smallest limit for kl_model_limit() */
} kl_model_split;
KL_API kl_model_split kl_model_split_of(const kl_model *model);
/** From now on the weights take at most `bytes` of memory, small ones apart (kl_model_memory_bytes() before).  Matrices
 *  that every token meets are read into it now, and packed as kl_model_pack() does.  Routed experts are read from the
 *  files when they are chosen, by a few threads and past the kernel's cache where the file system can; those that were
 *  chosen last stay.  The same bits come out with it as without.  A file that cannot be read any more ends a step with
 *  KL_ERR_IO, and its sessions have to be reset or resumed.  In place of kl_model_pack(), before the first engine.
 *  Errors: KL_ERR_MEMORY (less than least_bytes), KL_ERR_IO, KL_ERR_ARGUMENT (packed already), KL_ERR_UNSUPPORTED.
 *  [T: engine/lean] */
KL_API kl_status kl_model_limit(kl_model *model, int64_t bytes, kl_error *err);

/** What a model under a limit has read since. */
typedef struct kl_expert_traffic {
    int64_t n_slot, slot_bytes; /* experts in memory at most, and the bytes of each; 0: no limit */
    int64_t n_asked, n_found;   /* experts that steps wanted, each once a step and layer; those that were in memory */
    int64_t read_bytes;         /* from the files */
    double wait_seconds;        /* that steps had nothing else to do meanwhile */
} kl_expert_traffic;
/** Waits for a step in progress. */
KL_API kl_expert_traffic kl_model_traffic(const kl_model *model);

KL_API const kl_config *kl_model_config(const kl_model *model);
/** Bytes of the weights in their files, and bytes that opening took beside them. */
KL_API int64_t kl_model_file_bytes(const kl_model *model);
KL_API int64_t kl_model_memory_bytes(const kl_model *model);
/** 128 bits that change with configuration, tensor names, shapes, types and a sample of their contents. */
KL_API void kl_model_fingerprint(const kl_model *model, uint8_t fingerprint[16]);

/** What one token costs, whatever computes it. */
typedef struct kl_token_cost {
    int64_t parameters;        /* of the model, all experts counted */
    int64_t fixed_parameters;  /* that meet every token in a product; a product is two operations */
    int64_t expert_parameters; /* of one routed expert in every layer that has them; a token meets n_expert_used */
    int64_t fixed_bytes;       /* of the former in the file, and of the token's row of the embedding */
    int64_t expert_bytes;
    int64_t state_bytes;       /* of the recurrent states, read and written */
    int64_t state_flops;       /* of the recurrences */
    int64_t row_bytes;         /* of latents, for every token before it */
    int64_t row_flops;         /* of attention in the expanded form, for every token before it */
} kl_token_cost;
KL_API kl_token_cost kl_model_token_cost(const kl_model *model, kl_cache_type type);

/** Time that one part of a step took in one layer, and what it had to do: bytes of weights and states to read (states
 *  to write, too), and operations of products and recurrences, counted by definition. */
typedef struct kl_spent {
    double seconds, bytes, flops;
    int64_t n_call;
} kl_spent;
enum {
    KL_N_PART = 14,
};
/** Name of a part, in the order in which a layer runs them; NULL past the last one. */
KL_API const char *kl_part_name(int part);

/* --------------------------------------------------------------------------------------------------- model files -- */

/** What all functions that write model files take.  A file appears under its name when it is complete, and not before;
 *  memory is bounded whatever the size of the model; the same bytes for any number of threads. */
typedef struct kl_file_options {
    /** Type of the matrices, in any case: f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, q4_k, q5_k, q6_k, or one of the
     *  mixtures q4_k_m, q5_k_m.  Rows that are no whole blocks get the nearest type that fits; norms, convolutions,
     *  routers and everything that is no matrix stay f32.  NULL: the function's default. */
    const char *type;
    kl_pool *pool;             /* borrowed; NULL: everything runs on the calling thread */
    const kl_allocator *alloc; /* borrowed; NULL: the C library's */
    kl_progress_fn *progress;  /* bytes written; NULL: nobody is told */
    void *user;                /* for `progress` */
    int64_t shard_bytes;       /* of a safetensors file at most, unless one tensor has more; 0: 5 GiB */
    bool dry_run;              /* everything is checked and planned as it would be, and nothing appears */
} kl_file_options;

/** Reads a model's configuration alone: from a directory in Hugging Face layout, a safetensors file in one, a GGUF
 *  file, or a config.json.  Everything is checked: kl_config has no value afterwards that the library cannot work
 *  with.
 *  Errors: KL_ERR_IO, KL_ERR_FORMAT, KL_ERR_UNSUPPORTED (another architecture), KL_ERR_MEMORY.   [T: unit/config] */
KL_API kl_status kl_config_read(kl_config *config, const char *path, const kl_allocator *alloc, kl_error *err);

/** The geometry called `name`: tiny, small, mid, mid256, 48b (the released one); NAME-mla has MLA in all layers,
 *  NAME-gdn Gated DeltaNet in place of KDA.  Errors: KL_ERR_ARGUMENT.   [T: unit/init] */
KL_API kl_status kl_config_preset(kl_config *config, const char *name, kl_error *err);
/** Name of preset `i`; NULL past the end.  Static storage. */
KL_API const char *kl_preset_name(int i);

/** Writes a GGUF file with random weights, scaled as those of a trained model are, and a small tokenizer where the
 *  vocabulary has at least 512 entries.  Numbers depend on seed and tensor name, before they are rounded to the type,
 *  and on nothing else.  Default type: f32.
 *  Errors: KL_ERR_ARGUMENT (type), KL_ERR_FORMAT and KL_ERR_UNSUPPORTED (the configuration), KL_ERR_IO, KL_ERR_MEMORY,
 *  KL_ERR_CANCELLED.   [T: unit/init] */
KL_API kl_status kl_model_init(const char *path, const kl_config *config, uint64_t seed, const kl_file_options *options,
                               kl_error *err);

/** Converts a model in Hugging Face layout to GGUF.  Default type: every matrix keeps its own.  With that,
 *  kl_model_to_hf makes the same model again, to the bit: what GGUF has no place for (types, A_log, texts) is kept in
 *  metadata. Errors: KL_ERR_ARGUMENT (no such type; looked at first), KL_ERR_IO, KL_ERR_FORMAT, KL_ERR_SHAPE,
 *  KL_ERR_UNSUPPORTED (another architecture or type; a tensor that would be lost), KL_ERR_NUMERIC (a number that the
 *  type cannot hold), KL_ERR_MEMORY, KL_ERR_CANCELLED.   [T: unit/convert] */
KL_API kl_status kl_model_to_gguf(const char *path, const char *from, const kl_file_options *options, kl_error *err);

/** Converts a GGUF file, of this or another tool, to Hugging Face layout: a new folder, or one that is empty.  Types
 *  are f32, f16 and bf16.  Default: those of the model that the file was made from, else bf16, with f32 for what the
 *  file has in f32 and bf16 could not hold.   Errors: as kl_model_to_gguf.   [T: unit/convert] */
KL_API kl_status kl_model_to_hf(const char *folder, const char *from, const kl_file_options *options, kl_error *err);

/** What became of one tensor. */
typedef struct kl_requantized {
    const char *name;        /* valid during the call */
    const char *from, *to;   /* types, "BF16", "Q4_K"; static storage */
    int64_t n_element, from_bytes, to_bytes;
    /** Sums of squares: of what was written minus what was read, and of what was read.  sqrt(error / power) is the
     *  relative error of the tensor, and of several tensors when both are summed.  Both 0 for what was copied. */
    double error, power;
} kl_requantized;
typedef void kl_requantized_fn(void *user, const kl_requantized *tensor);

/** Writes a GGUF file again with matrices of another type, tensor by tensor.  Metadata is copied; norms, convolutions,
 *  routers and tensors that no such model has are copied as they are.  options->type has to be set; `each` (may be
 *  NULL) is told of every tensor, with options->user, on the thread that called.  A dry run tells what sizes would be.
 *  Errors: as kl_model_to_gguf.   [T: unit/quantize] */
KL_API kl_status kl_model_quantize(const char *path, const char *from, const kl_file_options *options,
                                   kl_requantized_fn *each, kl_error *err);

/** A tensor of a model's files. */
typedef struct kl_tensor_info {
    kl_text name;      /* not terminated */
    const char *role;  /* which parameter it is, "KDA_Q"; NULL: none that the model has.  Static storage */
    int layer;         /* -1: of the model itself */
    const char *type;  /* "BF16", "Q4_K".  Static storage */
    int n_dim;
    int64_t dim[6];    /* outermost first */
    int64_t n_element, bytes;
    int file;          /* from 0 */
} kl_tensor_info;
/** Tensor `i` in the order of the files; false past the last.  Texts live as long as the model. */
KL_API bool kl_model_tensor(kl_tensor_info *info, const kl_model *model, int64_t i);
/** "gguf" or "safetensors"; static storage. */
KL_API const char *kl_model_format(const kl_model *model);
/** Path of file `i`; NULL past the last. */
KL_API const char *kl_model_file(const kl_model *model, int i);
/** What the file says that it is called; empty when it says nothing. */
KL_API kl_text kl_model_name(const kl_model *model);

#ifdef __cplusplus
}
#endif
#endif
