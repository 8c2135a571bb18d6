// llama.cpp decoding several sequences together: the rival of `klinear bench --batch`.
//   usage: rival_batch FILE THREADS SEQUENCES TOKENS
// Prints "tgTOKENSxSEQUENCES@d0 X tok/s", all sequences counted.  Links to llama.cpp's own libraries:
//   g++ -O2 -I SRC/include -I SRC/ggml/include rival_batch.cpp libllama.a libggml*.a -fopenmp
#include "llama.h"
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>

static double now()
{
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    int threads = atoi(argv[2]), n_seq = atoi(argv[3]), n_token = atoi(argv[4]);
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    llama_backend_init();
    llama_model_params mp = llama_model_default_params();
    mp.load_mode = LLAMA_LOAD_MODE_NONE; // weights are repacked, as for one sequence
    llama_model *model = llama_model_load_from_file(argv[1], mp);
    if (!model)
        return 1;
    llama_context_params cp = llama_context_default_params();
    cp.n_ctx = (uint32_t)(n_seq * 512);
    cp.n_batch = 512;
    cp.n_seq_max = (uint32_t)n_seq;
    cp.n_threads = cp.n_threads_batch = threads;
    llama_context *c = llama_init_from_model(model, cp);
    if (!c)
        return 1;
    int n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
    std::mt19937 random(7);
    double start = 0;
    for (int step = -4; step < n_token; step++) { // the first four are not counted
        if (step == 0)
            start = now();
        llama_batch b = llama_batch_init(n_seq, 0, 1);
        b.n_tokens = n_seq;
        for (int i = 0; i < n_seq; i++) {
            b.token[i] = (int)(random() % (unsigned)(n_vocab - 300)) + 256;
            b.pos[i] = step + 4;
            b.n_seq_id[i] = 1;
            b.seq_id[i][0] = i;
            b.logits[i] = 1;
        }
        if (llama_decode(c, b))
            return 1;
        llama_synchronize(c);
        llama_batch_free(b);
    }
    printf("tg%dx%d@d0 %.2f tok/s\n", n_token, n_seq, n_token * n_seq / (now() - start));
    return 0;
}
