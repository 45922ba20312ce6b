/* global require, process */
"use strict";

// node node_driver.js <where pusher-js is> <options as JSON>: does what each line of stdin says, answers by lines.

const { createInterface } = require("node:readline");
const { drive } = require("./driving.js");

const [, , pusherjs, options] = process.argv;
const say = (name, content) => process.stdout.write(`${JSON.stringify({ [name]: content ?? null })}\n`);

const driven = drive(require(pusherjs), JSON.parse(options), (...entry) => say("heard", entry));

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const [name, ...given] = JSON.parse(line);
    say("answer", driven[name](...given));
  })
  .on("close", () => process.exit());
