// Reading JSON that a person wrote or a disk damaged: what is wrong is named by file and field.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "error.h"

namespace perception::runtime {

using Json = nlohmann::json;

// A place in a file, and the code of what is wrong there.
struct Where {
    std::string name;
    perception_status code;

    Where inside(const std::string& part) const { return {name + ": " + part, code}; }
};

// Throws Error(where.code) unless the text is one JSON object.
Json parse_object(std::string_view text, const Where& where);

// The member `key` of an object. Throws Error(where.code) when it is absent or of another type; so do the others.
const Json& member(const Json& object, const char* key, const Where& where);
const Json& object_member(const Json& object, const char* key, const Where& where);
std::string string_member(const Json& object, const char* key, const Where& where);
double number_member(const Json& object, const char* key, const Where& where);
std::int64_t integer_member(const Json& object, const char* key, const Where& where, std::int64_t least,
                            std::int64_t most);

// A matrix given as a list of rows; every number finite.
void read_matrix(const Json& rows, int size, double* out, const Where& where);

}  // namespace perception::runtime
