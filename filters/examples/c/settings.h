// The settings of a plugin: a JSON object whose values are strings or lists of strings, as refgate hands it over.
#pragma once

#include <stdbool.h>
#include <stddef.h>

// Bytes that need not be UTF-8 and may hold a NUL.
struct text {
  char *bytes;
  size_t len;
};

// One value. `index` counts from 0 within a list and is -1 for a value that stands alone.
struct setting {
  struct text key;
  long index;
  struct text value;
};

struct settings {
  struct setting *items;
  size_t len;
};

// Reads `json`, in the order of the text. False when it is not such an object; `settings` is then of no use.
bool settings_read(struct settings *settings, const char *json, size_t len);

// Appends bytes to a text; the first call takes one of zeros.
void text_add(struct text *to, const char *bytes, size_t len);

// Appends a text that ends with a NUL.
void text_say(struct text *to, const char *words);
