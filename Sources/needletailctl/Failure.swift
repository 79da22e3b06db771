// Why a command fails. Every failure is one line on standard error and exit status 1.

import NeedletailClient

enum Failure: Error {
  /// The command line is wrong; points to the command's help.
  case usage(String, Command)
  /// Anything else.
  case message(String)
  /// Everything is said already.
  case reported

  static func client(_ error: ClientError) -> Failure { .message(error.description) }

  static func badFlag(_ name: String, _ text: [UInt8], _ why: String) -> Failure {
    .message("invalid argument \"\(String(decoding: text, as: UTF8.self))\" for \"--\(name)\" flag: \(why)")
  }
}
