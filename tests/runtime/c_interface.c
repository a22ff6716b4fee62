/* The C interface from C: c_interface ARTIFACT IMAGE. Every kind of bad frame gives its code and a message, and the
 * good frame after it gives what it gave before. IMAGE is a JPEG or PNG of WIDTH x HEIGHT. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "perception.h"

enum { WIDTH = 320, HEIGHT = 180, MAX_CAMERAS = 32, POINTS = 500, FEATURES = 5, SWEEPS = 6, LAST = SWEEPS - 1 };

static int failures = 0;

static void check(int ok, const char* what, int line) {
    if (!ok) fprintf(stderr, "line %d: %s (last error: %s)\n", line, what, perception_last_error()), ++failures;
}
#define CHECK(condition) check(condition, #condition, __LINE__)

static perception_runtime* runtime = NULL;
static perception_image images[MAX_CAMERAS];
/* As many as it takes for the demo's preprocessing, which takes every fifth, to use one of them. */
static perception_sweep sweeps[SWEEPS];
static perception_frame frame;
static float cloud[POINTS * FEATURES];
static unsigned char* image_file;
static size_t image_bytes;
static double now_s = 100.0;
static int expected_detections = -1;

static void identity(double* matrix) {
    for (int i = 0; i < 16; ++i) matrix[i] = i % 5 == 0;
}

/* A frame newer than the last, with nothing wrong. */
static void make_good(void) {
    now_s += 0.1;
    for (int i = 0; i < POINTS; ++i) {
        for (int c = 0; c < FEATURES; ++c) cloud[i * FEATURES + c] = (float)((i * 7 + c * 131) % 300) / 10.0f - 15.0f;
        cloud[i * FEATURES + 2] = -1.0f;
    }
    const double camera_from_lidar[16] = {1, 0, 0, 0, 0, 0, -1, 0, 0, 1, 0, 0, 0, 0, 0, 1};
    const double intrinsics[9] = {250, 0, 160, 0, 250, 90, 0, 0, 1};
    for (int i = 0; i < perception_camera_count(runtime); ++i) {
        images[i].data = image_file, images[i].bytes = image_bytes, images[i].format = PERCEPTION_IMAGE_ENCODED;
        images[i].width = WIDTH, images[i].height = HEIGHT, images[i].timestamp_s = now_s + 0.01;
        memcpy(images[i].camera_from_lidar, camera_from_lidar, sizeof(camera_from_lidar));
        memcpy(images[i].intrinsics, intrinsics, sizeof(intrinsics));
    }
    for (int i = 0; i < SWEEPS; ++i) {
        sweeps[i].data = cloud, sweeps[i].bytes = sizeof(cloud), sweeps[i].format = PERCEPTION_CLOUD_FLOAT32;
        sweeps[i].features = FEATURES, sweeps[i].timestamp_s = now_s - 0.05 * i;
        identity(sweeps[i].lidar_from_sweep);
    }
    frame.timestamp_s = now_s, frame.sweeps = sweeps, frame.sweep_count = SWEEPS;
    frame.images = images, frame.image_count = perception_camera_count(runtime);
}

static void good(int line) {
    perception_result result;
    make_good();
    check(perception_infer(runtime, &frame, &result) == PERCEPTION_OK, "the good frame", line);
    if (expected_detections < 0) expected_detections = result.detection_count;
    check(result.detection_count == expected_detections, "as many detections as ever", line);
    check(result.lidar_used == 1 && result.cameras_used == (1u << perception_camera_count(runtime)) - 1,
          "all sensors used", line);
}

static void refused(perception_status code, const char* word, int line) {
    perception_result result;
    const perception_status got = perception_infer(runtime, &frame, &result);
    if (got != code)
        fprintf(stderr, "line %d: %s instead of %s\n", line, perception_status_name(got), perception_status_name(code));
    check(got == code, "the code", line);
    check(strstr(perception_last_error(), word) != NULL, word, line);
    good(line);
}
#define REFUSED(code, word) refused(code, word, __LINE__)

static void read_image_file(const char* path) {
    FILE* file = fopen(path, "rb");
    if (file == NULL) exit(3);
    image_file = malloc(1 << 20);
    image_bytes = fread(image_file, 1, 1 << 20, file);
    fclose(file);
}

static void bad_images(void) {
    make_good();
    --frame.image_count;
    REFUSED(PERCEPTION_ERROR_CAMERAS, "cameras");
    make_good();
    images[0].width = 2 * WIDTH;
    REFUSED(PERCEPTION_ERROR_IMAGE_SIZE, perception_camera_name(runtime, 0));
    make_good();
    images[1].bytes /= 2;
    REFUSED(PERCEPTION_ERROR_IMAGE, perception_camera_name(runtime, 1));
    make_good();
    images[0].format = PERCEPTION_IMAGE_RGB8;
    REFUSED(PERCEPTION_ERROR_IMAGE_SIZE, "RGB");
    make_good();
    images[0].format = 77;
    REFUSED(PERCEPTION_ERROR_ARGUMENT, "format");
    make_good();
    images[0].camera_from_lidar[3] = NAN;
    REFUSED(PERCEPTION_ERROR_CALIBRATION, "NaN");
    make_good();
    images[0].camera_from_lidar[0] = 1.01;
    REFUSED(PERCEPTION_ERROR_CALIBRATION, "not a rotation");
    make_good();
    images[0].intrinsics[0] = 0;
    REFUSED(PERCEPTION_ERROR_CALIBRATION, "camera's matrix");
}

static void bad_clouds(void) {
    make_good();
    cloud[7] = NAN;
    REFUSED(PERCEPTION_ERROR_POINTS, "NaN");
    make_good();
    sweeps[0].bytes -= 3;
    REFUSED(PERCEPTION_ERROR_POINTS, "truncated");
    make_good();
    sweeps[LAST].format = PERCEPTION_CLOUD_PCD;
    REFUSED(PERCEPTION_ERROR_POINTS, "PCD");
    make_good();
    sweeps[LAST].lidar_from_sweep[5] = 2;
    REFUSED(PERCEPTION_ERROR_CALIBRATION, "sweep");
    make_good();
    const size_t too_many = (size_t)perception_max_points(runtime) + 1;
    char number[32];
    snprintf(number, sizeof(number), "%zu", too_many);
    float* huge = calloc(too_many, FEATURES * sizeof(float));
    sweeps[0].data = huge, sweeps[0].bytes = too_many * FEATURES * sizeof(float);
    REFUSED(PERCEPTION_ERROR_POINT_COUNT, number);
    free(huge);
}

static void bad_times(void) {
    make_good();
    frame.timestamp_s = 50.0;
    REFUSED(PERCEPTION_ERROR_CLOCK, "backwards");
    make_good();
    frame.timestamp_s = INFINITY;
    REFUSED(PERCEPTION_ERROR_CLOCK, "infinite");
    /* The clock is set back by more than a minute: that costs one frame. */
    make_good();
    frame.timestamp_s = now_s = 20.0;
    REFUSED(PERCEPTION_ERROR_CLOCK, "backwards");
    make_good();
    sweeps[LAST].timestamp_s = now_s + 1;
    REFUSED(PERCEPTION_ERROR_CLOCK, "sweep");
    make_good();
    images[0].timestamp_s = now_s - 0.5;
    REFUSED(PERCEPTION_ERROR_TIME_GAP, perception_camera_name(runtime, 0));
    make_good();
    images[0].timestamp_s = NAN, frame.timestamp_s = NAN, frame.sweep_count = 1;
    perception_result result;
    CHECK(perception_infer(runtime, &frame, &result) == PERCEPTION_OK);
    now_s = 1.0;
    perception_reset_clock(runtime);
    good(__LINE__);
}

static void missing_sensors(void) {
    perception_result result;
    make_good();
    frame.sweep_count = 0, images[0].data = NULL;
    CHECK(perception_infer(runtime, &frame, &result) == PERCEPTION_OK);
    CHECK(result.lidar_used == 0 && (result.cameras_used & 1) == 0 && (result.cameras_used & 2) != 0);
    make_good();
    sweeps[0].bytes = 0, frame.sweep_count = 1;
    for (int i = 0; i < frame.image_count; ++i) images[i].data = NULL;
    CHECK(perception_infer(runtime, &frame, &result) == PERCEPTION_OK);
    CHECK(result.lidar_used == 1 && result.cameras_used == 0);
    good(__LINE__);
}

static void two_frames_at_once(void) {
    perception_inputs *first = NULL, *second = NULL;
    perception_result result;
    CHECK(perception_inputs_create(runtime, &first) == PERCEPTION_OK &&
          perception_inputs_create(runtime, &second) == PERCEPTION_OK);
    CHECK(perception_detect(runtime, first, &result) == PERCEPTION_ERROR_ARGUMENT);
    make_good();
    CHECK(perception_prepare(runtime, first, &frame) == PERCEPTION_OK);
    make_good();
    frame.sweep_count = 0;
    CHECK(perception_prepare(runtime, second, &frame) == PERCEPTION_OK);
    CHECK(perception_detect(runtime, first, &result) == PERCEPTION_OK && result.lidar_used == 1);
    CHECK(result.detection_count == expected_detections);
    CHECK(perception_detect(runtime, second, &result) == PERCEPTION_OK && result.lidar_used == 0);
    perception_inputs_destroy(first);
    perception_inputs_destroy(second);
}

int main(int count, char** values) {
    if (count != 3) return 2;
    read_image_file(values[2]);
    CHECK(perception_create(NULL, NULL, &runtime) == PERCEPTION_ERROR_ARGUMENT);
    CHECK(perception_create("/nowhere", NULL, &runtime) == PERCEPTION_ERROR_FILE);
    CHECK(strstr(perception_last_error(), "/nowhere/manifest.json") != NULL);
    const perception_options options = {1, 2};
    if (perception_create(values[1], &options, &runtime) != PERCEPTION_OK) {
        fprintf(stderr, "%s\n", perception_last_error());
        return 1;
    }
    CHECK(perception_class_count(runtime) == 10 && strcmp(perception_class_name(runtime, 0), "car") == 0);
    CHECK(strcmp(perception_class_name(runtime, 10), "") == 0 && strcmp(perception_camera_name(runtime, -1), "") == 0);
    good(__LINE__);
    CHECK(expected_detections > 0);
    bad_images();
    bad_clouds();
    bad_times();
    missing_sensors();
    two_frames_at_once();
    perception_destroy(runtime);
    free(image_file);
    return failures == 0 ? 0 : 1;
}
