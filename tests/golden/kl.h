/*
 * KL divergences of whole runs on the models of tests/data from those models: data/kl.txt has what
 * each was when it was recorded. A result is as good as that, and no better, within 3 %.
 */
#ifndef KL_H
#define KL_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KL_TABLE AWQ_TEST_DATA "/kl.txt"
#define KL_TOLERANCE                                                                               \
    0.03 /* other kernels round otherwise, and near-ties of scales fall otherwise */

/* The model's directory has the name by which the table knows it; that of random models is
   "synthetic". NaN if it has no such run. */
static inline double recorded_kl(const char *model, const char *run)
{
    const char *slash = strrchr(model, '/');
    char line[256], of[64], name[64];
    double kl, found = NAN;
    FILE *table = fopen(KL_TABLE, "r");
    assert_non_null(table);
    while (fgets(line, sizeof line, table))
        if (sscanf(line, "%63s %63s %lf", of, name, &kl) == 3 && !strcmp(name, run) &&
            !strcmp(of, slash ? slash + 1 : model))
            found = kl;
    fclose(table);
    return found;
}

/* With AWQ_RECORD_KL=FILE in the environment, a line for the table is appended to FILE instead. */
static inline void assert_kl(const char *model, const char *run, double kl)
{
    const char *path = getenv("AWQ_RECORD_KL");
    double recorded = path ? kl : recorded_kl(model, run);
    FILE *file = path ? fopen(path, "a") : NULL;
    if (file) {
        fprintf(file, "%-15s %-34s %.9f\n", strrchr(model, '/') + 1, run, kl);
        fclose(file);
    }
    if (!(kl > 0 && fabs(kl - recorded) <= KL_TOLERANCE * recorded))
        fail_msg("%s, %s: KL %.9f, recorded %.9f", model, run, kl, recorded);
}

#endif
