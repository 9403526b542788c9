/* A run's directories in memory: kept, changed, written again, compared. */
#ifndef FOLDER_H
#define FOLDER_H

#include "fuzz.h"

#define FOLDER_MOST_FILES 16

typedef struct folder_file {
    char name[256];
    fuzz_part content;
} folder_file;

typedef struct folder {
    folder_file files[FOLDER_MOST_FILES]; /* by name */
    size_t count;
} folder;

void folder_read(const char *name, folder *f);
void folder_free(folder *f);
/* In place of the directory that is there. */
void folder_write(const char *name, const folder *f);
/* NULL if absent. */
folder_file *folder_find(folder *f, const char *name);
/* Is the file in the other folder, byte for byte? */
bool folder_has(folder *f, const folder_file *file);

/* An input is a number of changes, of five bytes each: the file, the kind (a byte set, a bit
   flipped, the end cut off, zeros added), two bytes for the place, and a value. Makes a copy with
   all of them. */
#define FOLDER_CHANGE_BYTES 5
void folder_change(const folder *f, const uint8_t *data, size_t size, folder *out);

/* A model in directory "m", for the first call, and a recipe that rounds it to "out". */
awq_recipe *folder_recipe(void);
/* Runs it up to a layer, from where the run before has ended. */
void folder_run_to(const awq_recipe *recipe, int64_t layer);
#define FOLDER_LAYERS 3

#endif
