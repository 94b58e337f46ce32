/*
 * A CUDA driver and an NVRTC for tests on machines without a GPU. Device memory is malloc, kernels compute nothing.
 *
 * Everything worth looking at is appended to the file $FAKE_CUDA_LOG, one line per event. What a kernel does is written
 * in its text: "// fake: WORD VALUE" sets sleep (milliseconds until the device is done), fault (CUresult that the device
 * then reports), us (its n-th launch lasts n times as long), each (microseconds more of every launch), dry (1: the host was late), maxThreads; "// fake: refuse LINE" fails in NVRTC, which takes
 * "compile-sleep" milliseconds, and "// fake: jit-error 1" fails in the load of the module. A launch reads the arguments that
 * the text declares.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_CONTEXT = 201, INVALID_PTX = 218, NOT_FOUND = 500, NOT_READY = 600, ILLEGAL_ADDRESS = 700 };
enum { TOTAL_BYTES = 1 << 20 };

static _Thread_local int current;                     /* is the context current on this thread? */
static int lost, pending_fault, pending_ms;           /* the stream: what the next wait meets */
static int dry;                                       /* did the kernel of the last launch say "dry 1"? */
static size_t used;                                   /* bytes of device memory in use */
static float clock_us;                                /* device time */
static pthread_t host_function;
static int host_function_runs;

static void record(const char *format, ...) {
  const char *path = getenv("FAKE_CUDA_LOG");
  if (!path) return;
  char line[4096];
  va_list args;
  va_start(args, format);
  int length = vsnprintf(line, sizeof line - 1, format, args);
  va_end(args);
  line[length++] = '\n';
  int file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (write(file, line, length) != length) abort();
  close(file);
}

static long directive(const char *text, const char *word, long otherwise) {
  char key[64];
  snprintf(key, sizeof key, "// fake: %s ", word);
  const char *at = strstr(text, key);
  return at ? strtol(at + strlen(key), NULL, 10) : otherwise;
}

#define IN_CONTEXT                     \
  if (!current) return INVALID_CONTEXT; \
  if (lost) return lost

/* ---- start, device ---- */
int cuInit(unsigned flags) { return flags; }
int cuGetErrorName(int code, const char **name) {
  switch (code) {
    case OUT_OF_MEMORY: *name = "CUDA_ERROR_OUT_OF_MEMORY"; break;
    case INVALID_CONTEXT: *name = "CUDA_ERROR_INVALID_CONTEXT"; break;
    case INVALID_PTX: *name = "CUDA_ERROR_INVALID_PTX"; break;
    case NOT_FOUND: *name = "CUDA_ERROR_NOT_FOUND"; break;
    case ILLEGAL_ADDRESS: *name = "CUDA_ERROR_ILLEGAL_ADDRESS"; break;
    default: *name = "CUDA_ERROR_INVALID_VALUE";
  }
  return 0;
}
int cuGetErrorString(int code, const char **text) {
  *text = code == ILLEGAL_ADDRESS ? "an illegal memory access was encountered" : NULL;
  return 0;
}
int cuDriverGetVersion(int *version) { return *version = 12080, 0; }
int cuDeviceGetCount(int *count) { return *count = 1, 0; }
int cuDeviceGet(int *device, int ordinal) { return *device = ordinal, 0; }
int cuDeviceGetName(char *name, int bytes, int device) { return snprintf(name, bytes, "Fake H%d00", device + 2), 0; }
int cuDeviceGetPCIBusId(char *id, int bytes, int device) { return snprintf(id, bytes, "0000:%02X:00.0", device + 1), 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { return *bytes = TOTAL_BYTES, device; }
int cuDeviceGetAttribute(int *value, int which, int device) {
  *value = which == 75 ? 9 : which == 76 ? 0 : which == 16 ? 132 : which == 38 ? 52428800 : which == 97 ? 232448 : -1;
  return device;
}
int cuDevicePrimaryCtxRetain(void **context, int device) { return record("context retained"), *context = &lost, device; }
int cuDevicePrimaryCtxRelease_v2(int device) {
  record("context released, %zu bytes in use", used);
  lost = pending_fault = pending_ms = 0;
  return device;
}
int cuCtxSetCurrent(void *context) { return current = context != NULL, 0; }

/* ---- stream and events ---- */
int cuStreamCreate(void **stream, unsigned flags) { IN_CONTEXT; return *stream = malloc(1), flags == 1 ? 0 : INVALID_VALUE; }
int cuStreamDestroy_v2(void *stream) { return free(stream), 0; }
int cuEventCreate(float **event, unsigned flags) {
  IN_CONTEXT;
  return *event = malloc(sizeof(float)), flags == 0 || flags == 3 ? 0 : INVALID_VALUE;
}
int cuEventDestroy_v2(float *event) { return free(event), 0; }
int cuEventRecord(float *event, void *stream) { IN_CONTEXT; return *event = clock_us, stream ? 0 : INVALID_VALUE; }
int cuEventSynchronize(float *event) {
  IN_CONTEXT;
  (void)event;
  if (host_function_runs) pthread_join(host_function, NULL), host_function_runs = 0;
  usleep(1000 * pending_ms);
  pending_ms = 0;
  record("waited");
  return lost = pending_fault;
}
/* Nothing has begun as long as the host enqueues, unless the last launch was of a kernel that is "dry". */
int cuEventQuery(float *event) { IN_CONTEXT; return event && dry ? 0 : NOT_READY; }
int cuEventElapsedTime(float *ms, float *start, float *end) { IN_CONTEXT; return *ms = (*end - *start) / 1000, 0; }

struct host_call { void (*function)(void *); void *data; };
static void *run_host_function(void *argument) {
  struct host_call call = *(struct host_call *)argument;
  free(argument);
  call.function(call.data);
  record("host function returned");
  return NULL;
}
int cuLaunchHostFunc(void *stream, void (*function)(void *), void *data) {
  IN_CONTEXT;
  struct host_call *call = malloc(sizeof *call);
  *call = (struct host_call){function, data};
  host_function_runs = 1;
  return pthread_create(&host_function, NULL, run_host_function, call) || !stream;
}

/* ---- memory: eight bytes before each allocation hold its size ---- */
int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
  IN_CONTEXT;
  if (bytes == 0) return INVALID_VALUE;
  if (used + bytes > TOTAL_BYTES) return OUT_OF_MEMORY;
  size_t *block = malloc(sizeof(size_t) + bytes);
  memset(block + 1, 0xee, bytes);
  *block = bytes;
  used += bytes;
  record("alloc %zu", bytes);
  return *address = (uint64_t)(block + 1), 0;
}
int cuMemFree_v2(uint64_t address) {
  if (!current) return INVALID_CONTEXT;
  size_t *block = (size_t *)address - 1;
  used -= *block;
  record("free %zu", *block);
  free(block);
  return lost;
}
int cuMemsetD8Async(uint64_t address, unsigned char value, size_t bytes, void *stream) {
  IN_CONTEXT;
  return memset((void *)address, value, bytes), !stream;
}
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
  IN_CONTEXT;
  return memcpy((void *)to, from, bytes), !stream;
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
  IN_CONTEXT;
  return memcpy(to, (void *)from, bytes), !stream;
}

/* ---- modules: the image is the text ---- */
struct module { char *text; const char *parameters; int launches; char entry[64]; };

int cuModuleLoadDataEx(struct module **module, const char *image, unsigned count, const int *options, void **values) {
  IN_CONTEXT;
  if (directive(image, "jit-error", 0)) {
    for (unsigned i = 0; i < count; i++)
      if (options[i] == 5) strcpy(values[i], "ptxas fatal: planted");
    return INVALID_PTX;
  }
  *module = calloc(1, sizeof **module);
  (*module)->text = strdup(image);
  record("load");
  return 0;
}
int cuModuleUnload(struct module *module) {
  record("unload %s", module->entry);
  free(module->text);
  free(module);
  return 0;
}
int cuModuleGetFunction(struct module **function, struct module *module, const char *entry) {
  char needle[96];
  snprintf(needle, sizeof needle, " %s(", entry);
  const char *found = strstr(module->text, needle);
  if (!found) return NOT_FOUND;
  module->parameters = found + strlen(needle);
  snprintf(module->entry, sizeof module->entry, "%s", entry);
  return *function = module, 0;
}
int cuFuncGetAttribute(int *value, int which, struct module *function) {
  return *value = which == 0 ? directive(function->text, "maxThreads", 1024) : 10 * which, 0;
}
int cuFuncSetAttribute(struct module *function, int which, int value) {
  record("attribute %s %d %d", function->entry, which, value);
  return 0;
}

/* Size of the parameter that is declared in the `length` characters at `declaration`: a tensor map, a pointer or an int; else 0. */
static size_t parameter_bytes(const char *declaration, size_t length) {
  if (memmem(declaration, length, "TensorMap ", 10)) return 128;
  if (memchr(declaration, '*', length)) return 8;
  return memmem(declaration, length, "int ", 4) ? 4 : 0;
}

/* Reads as many arguments, of such sizes, as the kernel's text declares. No "extra": tensor maps do not survive it on real GPUs. */
int cuLaunchKernel(struct module *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                   void *stream, void **params, void **extra) {
  IN_CONTEXT;
  if (!params || extra || !stream) return INVALID_VALUE;
  char hex[2048] = "", *end = hex;
  for (const char *at = function->parameters; *at != ')'; at += *at == ',', params++) {
    const size_t length = strcspn(at, ",)"), bytes = parameter_bytes(at, length);
    if (bytes == 0 || (uintptr_t)*params % (bytes < 64 ? bytes : 64)) return INVALID_VALUE;
    if (end != hex) *end++ = ',';
    for (size_t i = 0; i < bytes; i++) end += sprintf(end, "%02x", ((const unsigned char *)*params)[i]);
    at += length;
  }
  record("launch %s %u,%u,%u %u,%u,%u %u %s", function->entry, gx, gy, gz, bx, by, bz, shared, hex);
  clock_us += directive(function->text, "each", 0) + directive(function->text, "us", 1) * ++function->launches;
  dry = directive(function->text, "dry", 0);
  pending_ms += directive(function->text, "sleep", 0);
  if (!pending_fault) pending_fault = directive(function->text, "fault", 0);
  return 0;
}

struct attribute { int id; char pad[4]; int value[16]; };
struct config { unsigned blocks[3], threads[3], shared; void *stream; struct attribute *attributes; unsigned count; };

/* Launches that may come up early, and no other attribute. */
int cuLaunchKernelEx(const struct config *c, struct module *function, void **params, void **extra) {
  if (c->count != 1 || c->attributes->id != 6 || c->attributes->value[0] != 1) return INVALID_VALUE;
  record("early %s", function->entry);
  return cuLaunchKernel(function, c->blocks[0], c->blocks[1], c->blocks[2], c->threads[0], c->threads[1], c->threads[2], c->shared, c->stream, params, extra);
}

/* The "descriptor" is the call's arguments, 8 bytes each: type, rank, address, swizzle, then sizes, strides, box. */
int cuTensorMapEncodeTiled(uint64_t *map, int type, uint32_t rank, void *address, const uint64_t *sizes, const uint64_t *strides,
                           const uint32_t *box, const uint32_t *element, int interleave, int swizzle, int promotion, int fill) {
  if ((uintptr_t)map % 64 || rank > 3 || interleave || promotion != 3 || fill) return INVALID_VALUE;
  uint64_t *at = map;
  *at++ = type, *at++ = rank, *at++ = (uint64_t)address, *at++ = swizzle;
  for (uint32_t i = 0; i < rank; i++) *at++ = sizes[i];
  for (uint32_t i = 1; i < rank; i++) *at++ = strides[i - 1];
  for (uint32_t i = 0; i < rank; i++) {
    if (box[i] == 0 || element[i] != 1) return INVALID_VALUE;
    *at++ = box[i];
  }
  return 0;
}

/* ---- NVRTC ---- */
struct program { char *text, *log; char name[64]; int ptx; };

int nvrtcVersion(int *major, int *minor) { return *major = 12, *minor = 8, 0; }
int nvrtcGetNumSupportedArchs(int *count) { return *count = 2, 0; }
int nvrtcGetSupportedArchs(int *archs) { return archs[0] = 80, archs[1] = 90, 0; }
int nvrtcCreateProgram(struct program **program, const char *text, const char *name, int count, const char *const *h, const char *const *n) {
  (void)h, (void)n;
  *program = calloc(1, sizeof **program);
  (*program)->text = strdup(text);
  snprintf((*program)->name, sizeof (*program)->name, "%s", name);
  return count;
}
int nvrtcCompileProgram(struct program *program, int count, const char *const *options) {
  record("compile %s %s", program->name, options[0]);
  program->ptx = count > 0 && strstr(options[0], "compute_") != NULL;
  const long line = directive(program->text, "refuse", 0);
  if (asprintf(&program->log, line ? "%s(%ld): error: planted" : "", program->name, line) < 0) abort();
  usleep(1000 * directive(program->text, "compile-sleep", 0));
  return line ? 6 : 0;
}
int nvrtcGetProgramLogSize(struct program *program, size_t *bytes) { return *bytes = strlen(program->log) + 1, 0; }
int nvrtcGetProgramLog(struct program *program, char *log) { return strcpy(log, program->log), 0; }
int nvrtcGetCUBINSize(struct program *program, size_t *bytes) { return *bytes = strlen(program->text) + 1, program->ptx; }
int nvrtcGetCUBIN(struct program *program, char *cubin) { return strcpy(cubin, program->text), program->ptx; }
int nvrtcGetPTXSize(struct program *program, size_t *bytes) { return *bytes = strlen(program->text) + 1, !program->ptx; }
int nvrtcGetPTX(struct program *program, char *ptx) { return strcpy(ptx, program->text), !program->ptx; }
int nvrtcDestroyProgram(struct program **program) {
  free((*program)->text);
  free((*program)->log);
  free(*program);
  return 0;
}

/* ---- NVML: the one device, which does not tell its power limit ---- */
int nvmlInit_v2(void) { return 0; }
int nvmlSystemGetDriverVersion(char *version, unsigned bytes) { return snprintf(version, bytes, "570.12.3"), 0; }
int nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **device) { return *device = &lost, strcmp(id, "0000:01:00.0") != 0; }
int nvmlDeviceGetClockInfo(void *device, int type, unsigned *mhz) { return *mhz = type == 1 ? 1500 : 3200, !device; }
int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts) { return *milliwatts = 612345, !device; }
int nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned *milliwatts) { return *milliwatts = 0, device ? 3 : 1; }
