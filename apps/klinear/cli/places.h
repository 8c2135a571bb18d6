/** Where things lie: the bundled model, and the files that the program keeps for a user. */
#ifndef KA_PLACES_H
#define KA_PLACES_H

#include "klinear/kl.h"

/** The model that comes with the program: the first *.gguf file by name, or else the first folder with a config.json,
 *  in $KLINEAR_MODELS, or in share/klinear/models of the prefix that the program is installed in, or in models/ of the
 *  source tree that holds it, beside a NOTICE.  path [bytes].  Errors: KL_ERR_IO, with the places where none was. */
kl_status ka_bundled_model(char *path, size_t bytes, kl_error *err);

/** Path of a file that outlives the program: $XDG_STATE_HOME/klinear/NAME, by default ~/.local/state/klinear/NAME.  The
 *  folders are made, for the user alone.  Errors: KL_ERR_IO (no home, or no such folder can be made). */
kl_status ka_state_file(char *path, size_t bytes, const char *name, kl_error *err);

/** Folder for what can be made again: $XDG_CACHE_HOME/klinear/NAME, by default ~/.cache/klinear/NAME.  It is made, for
 *  the user alone.  Errors: KL_ERR_IO. */
kl_status ka_cache_folder(char *path, size_t bytes, const char *name, kl_error *err);

#endif
