/** What klinear demo reads when it is given nothing else. */
#ifndef KA_DEMO_TEXT_H
#define KA_DEMO_TEXT_H

static const char ka_demo_text[] =
    "Attention compares every token with every token that came before it, and keeps all of them in a cache "
    "that grows with the text. Linear attention keeps one matrix per head instead. Each token writes into the "
    "matrix what follows its key, and reads from the matrix what its query asks for. The matrix does not "
    "grow: after a million tokens it is as large as after the first one. What does not fit is forgotten, and "
    "a good rule decides what is forgotten first. "
    "The delta rule writes an error instead of a value. Before a token writes, it reads what the matrix "
    "already holds for its key, and writes only the difference. So a key that comes again replaces what was "
    "there, and a pair that is known already changes nothing. Gates let the matrix forget on purpose: every "
    "channel of the key has a decay of its own, so that one part of the memory can hold the last sentence and "
    "another part the whole page. Kimi Delta Attention is the delta rule with one gate per channel. "
    "Written token by token the rule is a loop over matrices, and a machine that could multiply large blocks "
    "sits idle. Written chunk by chunk it is a handful of matrix products: the tokens of a chunk are compared "
    "with each other, a small triangular system is solved, and the matrix is read and written once for all of "
    "them. Both ways give the same numbers, up to rounding, and so does one step at a time with the matrix "
    "carried from call to call. A model reads its prompt chunk by chunk and then writes its answer step by "
    "step. "
    "Three layers of this kind and one layer of full attention, again and again: that is Kimi Linear. The "
    "layers with a matrix remember the gist of everything, the layers with a cache can look up any single "
    "word, and only one layer in four pays for the length of the text. ";

#endif
