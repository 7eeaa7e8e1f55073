<?php

namespace App\Http\Controllers;

use App\Models\Order;
use App\Notifications\OrderShipped;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\DB;

class OrderController
{
    public function index(Request $request)
    {
        return view('orders', ['user' => $request->user()]);
    }

    // Takes an order and ships it at once.
    public function store(Request $request)
    {
        DB::transaction(function () use ($request) {
            $order = Order::create(['buyer_id' => $request->user()->id, 'shipped' => true]);
            $request->user()->notify(new OrderShipped($order));
        });

        return response()->noContent();
    }
}
