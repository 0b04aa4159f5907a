#include "rpc/request_error.h"

#include <new>

namespace trident {

Outcome outcome_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const RequestError& e) {
    return {e.code(), e.what()};
  } catch (const ShapeError& e) {
    return {Code::invalid_argument, e.what()};
  } catch (const ConfigError& e) {
    return {Code::invalid_argument, e.what()};
  } catch (const DataError& e) {
    return {Code::invalid_argument, e.what()};
  } catch (const DeviceError& e) {
    return {Code::resource_exhausted, e.what()};
  } catch (const std::bad_alloc&) {
    return {Code::resource_exhausted, "the server has not enough memory for this request; send a smaller batch, field or number of steps"};
  } catch (const std::exception& e) {
    return {Code::internal, e.what()};
  }
}

}  // namespace trident
