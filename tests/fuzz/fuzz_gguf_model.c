/* A model in GGUF, of the input's bytes: opened, it says of itself what is in order. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    awq_model *model;
    fuzz_add_plugins();
    fuzz_write("model.gguf", data, size);
    awq_status status = awq_model_open(fuzz_context(), fuzz_path("model.gguf"), NULL, &model);
    fuzz_judge_public(status);
    MUST((status == AWQ_OK) == (model != NULL));
    if (model)
        fuzz_check_model(model);
    awq_model_free(model);
    return 0;
}
