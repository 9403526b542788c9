"""Damage to files."""
import os


def files_of(directory):
    """All regular files, in an order that is always the same."""
    return sorted(os.path.join(parent, name) for parent, _, names in os.walk(directory)
                  for name in names if not os.path.islink(os.path.join(parent, name)))


def _flip_bit(data, chance):
    at = chance.randrange(len(data))
    data[at] ^= 1 << chance.randrange(8)


def _set_byte(data, chance):
    at = chance.randrange(len(data))
    data[at] = (data[at] + chance.randrange(1, 256)) % 256


def _zero_block(data, chance):
    begin = chance.randrange(len(data)) // 512 * 512
    data[begin:begin + 512] = bytes(len(data[begin:begin + 512]))


def _zero_rest(data, chance):
    begin = chance.randrange(len(data))
    data[begin:] = bytes(len(data) - begin)


def _cut(data, chance):
    del data[chance.randrange(len(data)):]


def _extend(data, chance):
    data += bytes(chance.randrange(256) for _ in range(chance.randrange(1, 64)))


def _empty(data, _chance):
    del data[:]


def _repeat(data, chance):
    begin = chance.randrange(len(data))
    data[begin:begin] = data[begin:begin + chance.randrange(1, 64)]


KINDS = (_flip_bit, _flip_bit, _set_byte, _zero_block, _zero_rest, _cut, _extend, _empty, _repeat)


def damage(path, chance):
    """Changes a file for sure, and tells how; an empty one grows."""
    with open(path, "rb") as file:
        before = file.read()
    while True:
        data, kind = bytearray(before), chance.choice(KINDS if before else (_extend,))
        # Headers and small files are where damage has the most effects.
        head = data[:4096] if kind in (_flip_bit, _set_byte) and chance.random() < 0.5 else None
        if head is not None:
            kind(head, chance)
            data[:len(head)] = head
        else:
            kind(data, chance)
        if data != before:
            break
    os.unlink(path)  # who has the file open keeps what it had
    with open(path, "wb") as file:
        file.write(data)
    return f"{os.path.basename(path)}:{kind.__name__}"
