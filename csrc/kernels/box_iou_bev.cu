#include "box_iou_bev.cuh"

namespace perception {
namespace {

constexpr int kRows = 8;  // of the result, per block; a warp takes 32 neighbours in one

// One block per multiprocessor is enough: otherwise ptxas spills for the sake of occupancy.
template <typename T>
__global__ void __launch_bounds__(kRows * kWarp, 1) overlap_pairs(const BevBox<T>* __restrict__ a,  // [count_a]
                                                                  std::int64_t count_a,
                                                                  const BevBox<T>* __restrict__ b,  // [count_b]
                                                                  std::int64_t count_b, BevOverlap kind,
                                                                  T* __restrict__ out) {  // [count_a,count_b]
    const std::int64_t row = std::int64_t{blockIdx.x} * kRows + threadIdx.y;
    const std::int64_t column = std::int64_t{blockIdx.y} * kWarp + threadIdx.x;
    if (row >= count_a || column >= count_b) return;
    out[row * count_b + column] = overlap_of(a[row], b[column], kind);
}

}  // namespace

template <typename T>
Status box_iou_bev_cuda(const T* a, std::int64_t count_a, const T* b, std::int64_t count_b, BevOverlap kind, T* out,
                        void* workspace, std::size_t workspace_bytes, Stream stream) {
    Workspace memory(workspace, workspace_bytes);
    auto* const boxes_a = memory.take<BevBox<T>>(count_a);
    auto* const boxes_b = memory.take<BevBox<T>>(count_b);
    if (!memory.fits()) return Status::workspace_too_small;
    Status status = make_bev_boxes_cuda(a, count_a, boxes_a, stream);
    if (status != Status::ok) return status;
    status = make_bev_boxes_cuda(b, count_b, boxes_b, stream);
    if (status != Status::ok) return status;
    return launch(overlap_pairs<T>, dim3(blocks_for(count_a, kRows), blocks_for(count_b, kWarp)), dim3(kWarp, kRows), 0,
                  stream, boxes_a, count_a, boxes_b, count_b, kind, out);
}

template Status box_iou_bev_cuda(const float*, std::int64_t, const float*, std::int64_t, BevOverlap, float*, void*,
                                 std::size_t, Stream);
template Status box_iou_bev_cuda(const double*, std::int64_t, const double*, std::int64_t, BevOverlap, double*, void*,
                                 std::size_t, Stream);

}  // namespace perception
