// What goes wrong inside the runtime: an exception with a code, which the C interface hands on as code and message.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

#include "perception.h"

namespace perception::runtime {

class Error : public std::runtime_error {
  public:
    Error(perception_status code, const std::string& message) : std::runtime_error(message), code(code) {}
    const perception_status code;
};

// Throws an Error whose message is the parts, one after the other.
template <typename... Parts>
[[noreturn]] void fail(perception_status code, const Parts&... parts) {
    std::ostringstream text;
    (text << ... << parts);
    throw Error(code, text.str());
}

}  // namespace perception::runtime
