/* Bytecode that lies deflated in the executable, made whole for the moment in which it is read.

   CPython's import.c is compiled to read its frozen modules by `thawed` in place of PyMarshal_ReadObjectFromString
   (build/binary/interpreter.py). What a start imports is not deflated, and read where it lies. The format is that of
   build/binary/frozen.py. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <marshal.h>
#include <stdint.h>
#include <zlib.h>

enum { DEFLATED = 'D', HEADER_BYTES = 5 };

extern const unsigned char *const frozen_dictionary;
extern const unsigned int frozen_dictionary_size;

static int inflated(const unsigned char *from, size_t size, unsigned char *to, size_t whole)
{
    z_stream stream = {.next_in = (unsigned char *)from, .avail_in = (uInt)size, .next_out = to, .avail_out = (uInt)whole};
    if (inflateInit2(&stream, -MAX_WBITS) != Z_OK)
        return 0;
    int done = inflateSetDictionary(&stream, frozen_dictionary, frozen_dictionary_size) == Z_OK &&
               inflate(&stream, Z_FINISH) == Z_STREAM_END && stream.total_out == whole;
    inflateEnd(&stream);
    return done;
}

PyObject *thawed(const char *data, Py_ssize_t size)
{
    const unsigned char *bytes = (const unsigned char *)data;
    if (size < HEADER_BYTES || bytes[0] != DEFLATED)
        return PyMarshal_ReadObjectFromString(data, size);
    size_t whole = bytes[1] | bytes[2] << 8 | bytes[3] << 16 | (size_t)bytes[4] << 24;
    unsigned char *code = PyMem_Malloc(whole);
    if (!code)
        return PyErr_NoMemory();
    PyObject *object = NULL;
    if (inflated(bytes + HEADER_BYTES, (size_t)size - HEADER_BYTES, code, whole))
        object = PyMarshal_ReadObjectFromString((const char *)code, (Py_ssize_t)whole);
    else
        PyErr_SetString(PyExc_EOFError, "bytecode in the executable is damaged, or there was no memory to inflate it");
    PyMem_Free(code);
    return object;
}
