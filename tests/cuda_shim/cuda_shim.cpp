#include "cuda_shim.h"

#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace cuda_shim {
namespace {

constexpr std::size_t stack_bytes = 192 * 1024;  // sanitizers make frames large

enum class State { ready, at_barrier, at_warp_operation, done };

struct Fiber {
    ucontext_t context;
    std::unique_ptr<unsigned char[]> stack;  // from the heap, so that running over its end is seen
    uint3 index;
    State state;
    Where where;
    bool predicate;
    unsigned mask;
    int words;
    Payload payload;
    Gathered gathered;
    void* fake_stack;
};

struct StaticShared {
    const void* declaration;
    std::vector<unsigned char> memory;
    std::uint64_t block;  // the block that it was last filled for
};

struct Machine {
    std::vector<std::unique_ptr<Fiber>> fibers;  // kept between launches
    std::size_t threads = 0;
    std::size_t current = 0;
    ucontext_t scheduler;
    const void* scheduler_stack = nullptr;
    std::size_t scheduler_stack_bytes = 0;
    void* scheduler_fake_stack = nullptr;
    const std::function<void()>* thread = nullptr;
    std::string failure;
    BarrierVotes votes{};

    std::vector<unsigned char> dynamic_shared;
    std::vector<std::unique_ptr<StaticShared>> static_shared;
    std::uint64_t block = 0;

    Order order = Order::ascending;
    std::mt19937_64 random;
};

Machine machine;

Fiber& current_fiber() { return *machine.fibers[machine.current]; }

std::string text(Where where) {
    return std::string(where.file_name()) + ":" + std::to_string(where.line()) + " (" + where.function_name() + ")";
}

std::string name_of(const Fiber& fiber) {
    const auto triple = [](auto v) {
        return "(" + std::to_string(v.x) + "," + std::to_string(v.y) + "," + std::to_string(v.z) + ")";
    };
    return "thread " + triple(fiber.index) + " of block " + triple(blockIdx);
}

// ASan keeps one shadow of "the stack": tell it about every change.
void announce_switch([[maybe_unused]] void** save, [[maybe_unused]] const void* stack, [[maybe_unused]] std::size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(save, stack, bytes);
#endif
}
void finish_switch([[maybe_unused]] void* saved, [[maybe_unused]] const void** stack, [[maybe_unused]] std::size_t* bytes) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(saved, stack, bytes);
#endif
}

void return_to_scheduler() {
    Fiber& fiber = current_fiber();
    const bool last = fiber.state == State::done;
    announce_switch(last ? nullptr : &fiber.fake_stack, machine.scheduler_stack, machine.scheduler_stack_bytes);
    swapcontext(&fiber.context, &machine.scheduler);
    finish_switch(fiber.fake_stack, &machine.scheduler_stack, &machine.scheduler_stack_bytes);
}

void fiber_main() {
    finish_switch(nullptr, &machine.scheduler_stack, &machine.scheduler_stack_bytes);
    (*machine.thread)();
    current_fiber().state = State::done;
    return_to_scheduler();
}

void resume(std::size_t thread) {
    Fiber& fiber = *machine.fibers[thread];
    machine.current = thread;
    threadIdx = fiber.index;
    announce_switch(&machine.scheduler_fake_stack, fiber.stack.get(), stack_bytes);
    swapcontext(&machine.scheduler, &fiber.context);
    finish_switch(machine.scheduler_fake_stack, nullptr, nullptr);
    if (!machine.failure.empty()) {
        const std::string failure = std::exchange(machine.failure, {});
        machine.fibers.clear();  // their stacks are in use for ever: do not run on them again
        throw Error(failure);
    }
}

void start_fibers() {
    while (machine.fibers.size() < machine.threads) {
        machine.fibers.push_back(std::make_unique<Fiber>());
        machine.fibers.back()->stack = std::make_unique_for_overwrite<unsigned char[]>(stack_bytes);
    }
    for (unsigned thread = 0; thread < machine.threads; ++thread) {
        Fiber& fiber = *machine.fibers[thread];
        fiber.index = {thread % blockDim.x, thread / blockDim.x % blockDim.y, thread / blockDim.x / blockDim.y};
        fiber.state = State::ready;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.get();
        fiber.context.uc_stack.ss_size = stack_bytes;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, fiber_main, 0);
#if defined(__SANITIZE_ADDRESS__)
        // ASan forgets what it knows of the whole stack at every switch to a context that names one: half the time of
        // these tests. Once, before the fiber starts, is enough.
        fiber.context.uc_stack.ss_size = 0;
        ASAN_UNPOISON_MEMORY_REGION(fiber.stack.get(), stack_bytes);
#endif
    }
}

// No thread can run: either all that have not returned are at one barrier, or the kernel hangs.
void open_barrier() {
    const Fiber* first = nullptr;
    BarrierVotes votes{};
    std::string problem;
    for (std::size_t thread = 0; thread < machine.threads && problem.empty(); ++thread) {
        const Fiber& fiber = *machine.fibers[thread];
        if (fiber.state == State::done) continue;
        if (first == nullptr) first = &fiber;
        if (fiber.state == State::at_warp_operation) {
            problem = name_of(fiber) + " waits for ever for lanes of its mask at " + text(fiber.where);
        } else if (fiber.where.line() != first->where.line() ||
                   std::strcmp(fiber.where.file_name(), first->where.file_name()) != 0) {
            problem = "barrier divergence: " + name_of(*first) + " is at " + text(first->where) + ", " + name_of(fiber) +
                      " at " + text(fiber.where);
        }
        votes.count += fiber.predicate ? 1 : 0;
        votes.threads += 1;
    }
    if (!problem.empty()) {
        machine.fibers.clear();
        throw Error(problem);
    }
    machine.votes = votes;
    for (std::size_t thread = 0; thread < machine.threads; ++thread) {
        Fiber& fiber = *machine.fibers[thread];
        if (fiber.state == State::at_barrier) fiber.state = State::ready;
    }
}

void arrange(std::vector<std::size_t>& order) {
    if (machine.order == Order::descending) std::reverse(order.begin(), order.end());
    if (machine.order == Order::shuffled) std::shuffle(order.begin(), order.end(), machine.random);
}

std::vector<std::size_t> arranged(std::size_t count) {
    std::vector<std::size_t> order(count);
    std::iota(order.begin(), order.end(), std::size_t{0});
    arrange(order);
    return order;
}

void run_block() {
    start_fibers();
    std::vector<std::size_t> order = arranged(machine.threads);
    while (true) {
        bool progress = false;
        for (const std::size_t thread : order) {
            if (machine.fibers[thread]->state == State::ready) {
                resume(thread);
                progress = true;
            }
        }
        if (progress) continue;
        const auto is_done = [](std::size_t thread) { return machine.fibers[thread]->state == State::done; };
        if (std::all_of(order.begin(), order.end(), is_done)) return;
        open_barrier();
        if (machine.order == Order::shuffled) arrange(order);
    }
}

constexpr unsigned char garbage = 0xff;

}  // namespace

void set_order(Order order, std::uint64_t seed) {
    machine.order = order;
    machine.random.seed(seed);
}

bool run(dim3 grid, dim3 block, std::size_t dynamic_shared_bytes, const std::function<void()>& thread) {
    const std::uint64_t threads = std::uint64_t{block.x} * block.y * block.z;
    if (grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535 || threads == 0 || threads > 1024 || block.z > 64 ||
        dynamic_shared_bytes > max_shared_bytes) {
        return false;
    }
    machine.threads = threads;
    machine.thread = &thread;
    machine.dynamic_shared = std::vector<unsigned char>(dynamic_shared_bytes);
    machine.static_shared.clear();
    blockDim = block;
    gridDim = grid;
    for (const std::size_t index : arranged(std::size_t{grid.x} * grid.y * grid.z)) {
        blockIdx = {static_cast<unsigned>(index % grid.x), static_cast<unsigned>(index / grid.x % grid.y),
                    static_cast<unsigned>(index / grid.x / grid.y)};
        ++machine.block;
        std::fill(machine.dynamic_shared.begin(), machine.dynamic_shared.end(), garbage);
        run_block();
    }
    return true;
}

void* dynamic_shared_memory() { return machine.dynamic_shared.data(); }

void* static_shared_memory(const void* declaration, std::size_t bytes) {
    std::size_t total = bytes;
    for (const auto& shared : machine.static_shared) {
        if (shared->declaration == declaration) {
            if (shared->block != machine.block) std::fill(shared->memory.begin(), shared->memory.end(), garbage);
            shared->block = machine.block;
            return shared->memory.data();
        }
        total += shared->memory.size();
    }
    if (total > max_static_shared_bytes) fail("more than 48 KiB of static shared memory", Where::current());
    if (total + machine.dynamic_shared.size() > max_shared_bytes) fail("more shared memory than a block has", Where::current());
    machine.static_shared.push_back(std::make_unique<StaticShared>());
    *machine.static_shared.back() = {declaration, std::vector<unsigned char>(bytes, garbage), machine.block};
    return machine.static_shared.back()->memory.data();
}

bool is_shared(const void* pointer) {
    const auto holds = [pointer](const std::vector<unsigned char>& memory) {
        return std::less_equal<const void*>{}(memory.data(), pointer) &&
               std::less<const void*>{}(pointer, memory.data() + memory.size());
    };
    return holds(machine.dynamic_shared) || std::any_of(machine.static_shared.begin(), machine.static_shared.end(),
                                                        [&](const auto& shared) { return holds(shared->memory); });
}

void fail(const char* what, Where where) {
    machine.failure = name_of(current_fiber()) + ": " + what + " at " + text(where);
    while (true) return_to_scheduler();
}

void yield() { return_to_scheduler(); }

BarrierVotes barrier(bool predicate, Where where) {
    Fiber& fiber = current_fiber();
    fiber.predicate = predicate;
    fiber.where = where;
    fiber.state = State::at_barrier;
    return_to_scheduler();
    return machine.votes;
}

const Gathered& exchange(unsigned mask, const Payload& payload, int words, Where where) {
    Fiber& fiber = current_fiber();
    const std::size_t first = machine.current / 32 * 32;
    if ((mask >> (machine.current - first) & 1u) == 0) fail("a lane calls a warp operation whose mask leaves it out", where);
    fiber.mask = mask;
    fiber.words = words;
    fiber.payload = payload;
    fiber.where = where;
    fiber.state = State::at_warp_operation;

    bool complete = true;
    for (std::size_t lane = 0; lane < 32; ++lane) {
        if ((mask >> lane & 1u) == 0) continue;
        if (first + lane >= machine.threads) fail("a mask names a lane past the end of the block", where);
        const Fiber& other = *machine.fibers[first + lane];
        if (other.state == State::done) fail("a mask names a lane that has returned", where);
        complete = complete && other.state == State::at_warp_operation && other.mask == mask && other.words == words &&
                   other.where.line() == where.line();
    }
    if (!complete) {
        return_to_scheduler();
        return fiber.gathered;
    }
    for (std::size_t lane = 0; lane < 32; ++lane) {
        if ((mask >> lane & 1u) == 0) continue;
        Fiber& other = *machine.fibers[first + lane];
        for (std::size_t from = 0; from < 32; ++from) {
            if ((mask >> from & 1u) == 0) continue;
            std::copy_n(machine.fibers[first + from]->payload.begin(), words, other.gathered[from].begin());
        }
        other.state = State::ready;
    }
    return fiber.gathered;
}

int lane() { return static_cast<int>(machine.current % 32); }

}  // namespace cuda_shim
