# Each kind of mistake in a recipe, with line and column.

# bad TEXT PLACE MESSAGE: the recipe TEXT (printf escapes) is refused at PLACE.
bad() {
    # shellcheck disable=SC2059 # the text is the format
    printf -- "$1" >bad.yaml
    refused "bad.yaml:$2: $3" plan bad.yaml
}

# keys
bad 'modle: m\n' 1:1 'unknown key "modle"; did you mean "model"?'
bad 'model: m\ncalibration:\n  data: d\n  sample: 3\n' 4:3 \
    'unknown key "calibration.sample"; did you mean "calibration.samples"?'
bad 'bits: 4\n' 1:1 'unknown key "bits"; did you mean "quantize.bits"?'
bad 'quantize:\n  search_tokens: 0\n' 2:3 \
    'quantize.search_tokens: is gone since version 0.2.0: no search goes by the output of the experts any more; leave it out'
bad 'quantize:\n  bits: 3\n' 2:9 \
    'quantize.bits: "3" is gone since version 0.2.0: codes of 3 bits were stored in 4, so that nothing was gained; allowed is 2|4|8'
bad 'rules:\n  - bits: 3\n' 2:11 \
    'bits: "3" is gone since version 0.2.0: codes of 3 bits were stored in 4, so that nothing was gained; allowed is 2|4|8'
bad 'quantise:\n  bits: 4\n' 1:1 'unknown key "quantise"; did you mean "quantize"?'
bad 'calibration:\n  data:\n    files: x\n' 3:5 \
    'calibration.data: expected a text or a list of texts, found a mapping'
bad 'calibration: {quantize: {bits: 4}}\n' 1:15 \
    'unknown key "calibration.quantize"; did you mean "quantize"?'
bad '<<: {model: m}\n' 1:1 'unknown key "<<"; did you mean "quantize"?'
bad 'model: m\nmodel: n\n' 2:1 'model stands twice'
bad 'quantize:\n  bits: 4\nquantize:\n  clip: true\n' 3:1 'quantize stands twice'
bad 'quantize.bits: 4\nquantize:\n  bits: 4\n' 3:3 'quantize.bits stands twice'
bad '[a]: b\n' 1:1 'expected the name of an option, found a list'
bad '{a: b}: c\n' 1:1 'expected the name of an option, found a mapping'
bad '"mod\\0el": c\n' 1:1 'a NUL character is not allowed'

# kinds
bad 'model: [a, b]\n' 1:8 'model: expected one value, found a list'
bad 'model:\n  a: b\n' 2:3 'model: expected one value, found a mapping'
bad 'calibration: 5\n' 1:14 'calibration: expected a mapping, found a text'
bad 'calibration: [a]\n' 1:14 'calibration: expected a mapping, found a list'
bad 'calibration: ""\n' 1:14 'calibration: expected a mapping, found nothing'
bad 'quantize:\n  modules:\n    - a\n    - [b]\n' 4:7 \
    'quantize.modules: an item of the list must be a text, not a list'
bad 'quantize:\n  modules:\n    - a: b\n' 3:7 \
    'quantize.modules: an item of the list must be a text, not a mapping'
bad 'model:\noutput: o\n' 1:7 'model: a value is missing'
bad 'model: ~\n' 1:8 'model: a value is missing'
bad 'calibration: {data: [a, null]}\n' 1:25 'calibration.data: a value is missing'

# values
bad 'model: ""\n' 1:8 'model: an empty value is not allowed'
bad 'model: "a\\0b"\n' 1:8 'model: a NUL character is not allowed'
bad 'calibration:\n  samples: many\n' 2:12 \
    'calibration.samples: "many" is not allowed; allowed is an integer from 1 to 1048576'
bad 'calibration: {samples: 1_000}\n' 1:24 \
    'calibration.samples: "1_000" is not allowed; allowed is an integer from 1 to 1048576'
bad 'quantize: {bits: 5}\n' 1:18 'quantize.bits: "5" is not allowed; allowed is 2|4|8'
bad 'quantize: {clip: yes}\n' 1:18 'quantize.clip: "yes" is not allowed; allowed is true or false'
bad 'quantize: {method: gpt}\n' 1:20 'quantize.method: "gpt" is not allowed; allowed is awq|gptq|rtn'
bad 'quantize: {group_size: 16}\n' 1:24 \
    'quantize.group_size: "16" is not allowed; allowed is auto|32|64|128|-1'
bad 'shard_size: 5 GB\n' 1:13 \
    'shard_size: "5 GB" is not allowed; allowed is a whole number of bytes, or of kB, MB, GB, TB, KiB, MiB, GiB, TiB, as in 5GB'
bad 'shard_size: 1kB\n' 1:13 \
    'shard_size: "1kB" is not allowed; allowed are 1000000 to 9007199254740992 bytes'

# what YAML has and recipes have not
bad 'quantize:\n  modules: *.experts.*\n' 2:12 \
    'a text that begins with * or & must stand in quotes, as in "*.experts.*"'
bad 'quantize:\n  modules: [*experts*]\n' 2:13 \
    'a text that begins with * or & must stand in quotes, as in "*.experts.*"'
bad 'quantize:\n  modules: *experts\n' 2:12 \
    'an alias "*experts" is not allowed; a text that begins with * must stand in quotes'
bad 'model: &here m\n' 1:8 \
    'an anchor "&here" is not allowed; a text that begins with & must stand in quotes'
bad 'model: !!str m\n' 1:8 \
    'a tag "tag:yaml.org,2002:str" is not allowed; a text that begins with ! must stand in quotes'
bad 'calibration: !x {seed: 1}\n' 1:14 \
    'a tag "!x" is not allowed; a text that begins with ! must stand in quotes'
bad 'model: m\n---\nmodel: n\n' 2:1 'a second document begins here; a recipe is one'

# documents
bad '' 1:1 'there is nothing here; expected the options of a recipe'
bad '# only a comment\n' 2:1 'there is nothing here; expected the options of a recipe'
bad 'just text\n' 1:1 'expected the options of a recipe, found a text'
bad '- a\n' 1:1 'expected the options of a recipe, found a list'

# syntax
bad 'model: m\n  output: o\n' 2:9 'not valid YAML: mapping values are not allowed in this context'
bad 'calibration: {data: [a\n' 2:1 \
    "not valid YAML: did not find expected ',' or ']' while parsing a flow sequence"
bad 'model: m\n\toutput: o\n' 2:1 \
    'not valid YAML: found a tab character that violates indentation while scanning a plain scalar'
bad 'model: "m\n' 2:1 'not valid YAML: found unexpected end of stream while scanning a quoted scalar'
bad 'model: m\nplugin: a\001b\n' 2:10 'not valid YAML: control characters are not allowed'
bad 'model: m\nplugin: \303\251a\377\n' 2:11 'not valid YAML: invalid leading UTF-8 octet'
