/* The detector on a vehicle: sensors' data in, boxes out, without Python.
 *
 *     perception_runtime* runtime = NULL;
 *     if (perception_create("artifact", NULL, &runtime) != PERCEPTION_OK) puts(perception_last_error());
 *     perception_result result;
 *     if (perception_infer(runtime, &frame, &result) == PERCEPTION_OK) use(result.detections, result.detection_count);
 *     perception_destroy(runtime);
 *
 * Frames and units: LiDAR frame (x right, y forward, z up as nuScenes mounts it), metres, radians, seconds. Matrices
 * are row-major and named target_from_source.
 *
 * Errors: every call returns a code; perception_last_error() has the message of the calling thread's last failed call.
 * After an error the runtime is as before the call: the next good frame works. Only PERCEPTION_ERROR_CLOCK is remembered:
 * the next frame has to be newer than the refused one, so that a clock that was set back costs one frame.
 *
 * Threads: a runtime may be used from several threads. perception_prepare may run on one thread, into one
 * perception_inputs, while perception_detect runs on another thread from another: that is how decoding overlaps with
 * the network. Calls of one of these functions on one runtime wait for each other. One perception_inputs must not be in
 * two calls at once.
 */
#ifndef PERCEPTION_H
#define PERCEPTION_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define PERCEPTION_API __attribute__((visibility("default")))
#else
#define PERCEPTION_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum perception_status {
    PERCEPTION_OK = 0,
    PERCEPTION_ERROR_ARGUMENT = 1,     /* a null pointer or a number that makes no sense: a bug of the caller */
    PERCEPTION_ERROR_FILE = 2,         /* a file is missing or cannot be read */
    PERCEPTION_ERROR_MANIFEST = 3,     /* manifest.json is damaged, of another format, or of another model */
    PERCEPTION_ERROR_ARTIFACT = 4,     /* the model's file is damaged, or for another kind of processor */
    PERCEPTION_ERROR_CAMERAS = 5,      /* wrong number or wrong names of cameras */
    PERCEPTION_ERROR_CALIBRATION = 6,  /* a matrix is not finite or not rigid, or a field is missing */
    PERCEPTION_ERROR_IMAGE = 7,        /* not a JPEG or PNG image, cut short or corrupt */
    PERCEPTION_ERROR_IMAGE_SIZE = 8,   /* the image is not of the size that its calibration is for */
    PERCEPTION_ERROR_POINTS = 9,       /* a cloud is damaged or holds numbers that are not finite */
    PERCEPTION_ERROR_POINT_COUNT = 10, /* more points than the artifact's bound */
    PERCEPTION_ERROR_CLOCK = 11,       /* the frame is not newer than the one before, or a sweep not older than it */
    PERCEPTION_ERROR_TIME_GAP = 12,    /* a camera is further from the LiDAR in time than the limit */
    PERCEPTION_ERROR_NETWORK = 13,     /* the network failed, or gave numbers that are not finite */
    PERCEPTION_ERROR_INTERNAL = 14     /* anything else, out of memory included */
} perception_status;

typedef enum perception_cloud_format {
    PERCEPTION_CLOUD_FLOAT32 = 0, /* rows of `features` float32: x y z intensity ... (.bin, .pcd.bin) */
    PERCEPTION_CLOUD_PCD = 1      /* a .pcd file: ascii, binary or binary_compressed; its VIEWPOINT is ignored */
} perception_cloud_format;

typedef enum perception_image_format {
    PERCEPTION_IMAGE_ENCODED = 0, /* a JPEG or PNG file; EXIF rotation is not applied */
    PERCEPTION_IMAGE_RGB8 = 1     /* width * height * 3 bytes */
} perception_image_format;

/* One rotation of the LiDAR. An empty cloud (bytes 0) is a LiDAR that saw nothing. */
typedef struct perception_sweep {
    const void* data;
    size_t bytes;
    int32_t format;   /* perception_cloud_format */
    int32_t features; /* numbers per point, 3 or more; for PERCEPTION_CLOUD_FLOAT32 */
    double timestamp_s;
    double lidar_from_sweep[16]; /* this sweep's frame -> the key sweep's, the vehicle's motion included */
} perception_sweep;

/* One camera. data NULL: the camera is missing, and the other fields are not looked at. */
typedef struct perception_image {
    const uint8_t* data;
    size_t bytes;
    int32_t format;               /* perception_image_format */
    int32_t width, height;        /* of the recorded image, which the calibration is for (px) */
    double timestamp_s;           /* NaN: unknown, not checked */
    double camera_from_lidar[16]; /* at the two sensors' own times, the vehicle's motion between them included */
    double intrinsics[9];         /* px; integer coordinates are pixel centres */
} perception_image;

typedef struct perception_frame {
    double timestamp_s;             /* of the key sweep (without LiDAR: of the frame); NaN: unknown, not checked */
    const perception_sweep* sweeps; /* the key sweep, then older ones, newest first; the manifest says which are used */
    int32_t sweep_count;            /* 0: the LiDAR is missing */
    const perception_image* images; /* one per camera of the manifest, in its order */
    int32_t image_count;
} perception_frame;

typedef struct perception_detection {
    float centre_m[3]; /* of gravity */
    float size_m[3];   /* length width height */
    float yaw_rad;     /* counter-clockwise from +x, -pi..pi */
    float velocity_mps[2];
    float score;   /* 0..1 */
    int32_t label; /* perception_class_name */
} perception_detection;

/* What one frame took, in milliseconds. The first two overlap with another frame's network. */
typedef struct perception_timing {
    double images_ms, points_ms, network_ms;
} perception_timing;

typedef struct perception_result {
    const perception_detection* detections; /* by descending score; valid until the inputs are used or destroyed */
    int32_t detection_count;
    int32_t lidar_used;    /* 1 or 0 */
    uint32_t cameras_used; /* bit i: camera i of the manifest */
    perception_timing timing;
} perception_result;

typedef struct perception_options {
    int32_t network_threads; /* 0: as OMP_NUM_THREADS or the machine says */
    int32_t input_threads;   /* that decode images and read clouds, the caller's among them; 0: two */
} perception_options;

typedef struct perception_runtime perception_runtime;
typedef struct perception_inputs perception_inputs;

/* Loads the artifact that tools/export.py wrote into `directory`. options may be NULL. The artifact is code: load those
 * that you trust; its hash guards against damage, not against malice. The network runs once on as many points as a frame
 * may have, so that the first frame is as fast as the others and memory is taken now. */
PERCEPTION_API perception_status perception_create(const char* directory, const perception_options* options,
                                                   perception_runtime** runtime);
/* After all of its perception_inputs. NULL is allowed. */
PERCEPTION_API void perception_destroy(perception_runtime* runtime);

/* Prepares and detects in one call. The result is valid until the next call of it. */
PERCEPTION_API perception_status perception_infer(perception_runtime* runtime, const perception_frame* frame,
                                                  perception_result* result);

/* The same in two steps. Inputs keep their memory from frame to frame; what `frame` points to may go after the call. */
PERCEPTION_API perception_status perception_inputs_create(perception_runtime* runtime, perception_inputs** inputs);
PERCEPTION_API void perception_inputs_destroy(perception_inputs* inputs);
PERCEPTION_API perception_status perception_prepare(perception_runtime* runtime, perception_inputs* inputs,
                                                    const perception_frame* frame);
PERCEPTION_API perception_status perception_detect(perception_runtime* runtime, perception_inputs* inputs,
                                                   perception_result* result);

/* Forgets the time of the last frame, to run another recording. */
PERCEPTION_API void perception_reset_clock(perception_runtime* runtime);

/* The most points that a frame may have, all its sweeps together. */
PERCEPTION_API int64_t perception_max_points(const perception_runtime* runtime);
PERCEPTION_API int32_t perception_camera_count(const perception_runtime* runtime);
PERCEPTION_API const char* perception_camera_name(const perception_runtime* runtime, int32_t camera);
PERCEPTION_API int32_t perception_class_count(const perception_runtime* runtime);
PERCEPTION_API const char* perception_class_name(const perception_runtime* runtime, int32_t label);

/* Message of the calling thread's last failed call; "" before one. */
PERCEPTION_API const char* perception_last_error(void);
/* The code's name, such as "PERCEPTION_ERROR_IMAGE". */
PERCEPTION_API const char* perception_status_name(perception_status status);

#ifdef __cplusplus
}
#endif

#endif /* PERCEPTION_H */
