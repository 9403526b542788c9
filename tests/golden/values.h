/* Weights of an open model, as they are read. */
#ifndef VALUES_H
#define VALUES_H

#include "golden/runs.h"
#include "model/model.h"

/* All values of a module of an open model; the caller frees them. */
static inline float *values_of(const fixture *f, const awq_model *model, const char *name,
                               int64_t *cols)
{
    *cols = 0;
    for (size_t i = 0; i < model->arch->module_count; i++) {
        const awq__module *module = &model->arch->modules[i];
        awq__loaded_module loaded;
        if (strcmp(module->name, name) != 0)
            continue;
        assert_ok(f, awq__model_module(model, i, &loaded));
        float *values = malloc((size_t)(module->rows * module->cols) * sizeof *values);
        assert_non_null(values);
        awq__weight_read(awq__compute_fastest(), &loaded.found.weight, 0, module->rows, values);
        awq__loaded_module_free(&loaded);
        *cols = module->vector ? module->rows : module->cols;
        return values;
    }
    fail_msg("there is no %s", name);
    return NULL;
}

#endif
