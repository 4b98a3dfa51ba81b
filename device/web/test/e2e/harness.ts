/** The phone's core without a page, for a test that drives it. It is built beside the page, never into it. */

import { openPhone, readInvite } from "../../src/agent/index.ts";

Object.assign(window, { phone: openPhone(), readInvite });
