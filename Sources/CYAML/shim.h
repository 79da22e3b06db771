// libyaml: the configuration file's parser.
#pragma once
#include <yaml.h>
