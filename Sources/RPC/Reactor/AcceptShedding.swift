// What to do when the process is out of descriptors: a connection in the listener's queue can neither be accepted nor
// refused, and a level-triggered listener would spin. One descriptor is kept in reserve to accept and close with.

import CNeedletail
import Glibc

enum AcceptShedding {
  /// Accepts one connection with the spare descriptor and closes it. False when not even that can be done now.
  static func shed(_ listener: Int32, _ spare: inout Int32) -> Bool {
    guard spare >= 0 else {
      spare = open("/dev/null", O_RDONLY | O_CLOEXEC)
      return spare >= 0
    }
    close(spare)
    let descriptor = nt_accept(listener)
    if descriptor >= 0 { close(descriptor) }
    spare = open("/dev/null", O_RDONLY | O_CLOEXEC)
    return descriptor >= 0
  }
}
